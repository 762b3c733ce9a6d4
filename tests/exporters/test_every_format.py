# SPDX-License-Identifier: Apache-2.0
"""What holds for every format, written once."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgeferry.exporters.format import choose, formats
from edgeferry.models.artifact import ABOUT, LOG, MANIFEST, SCHEMA, read_artifact, what_changed
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of
from edgeferry.models.system.places import ROOT

FRAMEWORKS = ("tensorflow", "keras", "coremltools", "onnx", "tensorflowjs", "numpy")
NAMES = tuple(formats())
WRITTEN = tuple(name for name, form in formats().items() if form.missing() is None)


def test_listing_the_formats_imports_no_framework() -> None:
    script = (
        "import sys; from edgeferry.exporters.format import formats; formats(); "
        f"print([n for n in {FRAMEWORKS} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_kind_and_precision_in_lower_case(name: str) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)?", name)


@pytest.mark.parametrize("name", NAMES)
def test_a_tolerance_says_why(name: str) -> None:
    tolerance = formats()[name].tolerance
    assert 0 < tolerance.top1_agreement <= 1
    assert 0 < tolerance.p99_difference < 1
    assert len(tolerance.reason) > 20


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("classifier", ["exported_digits", "exported_colours"])
def test_it_is_written(name: str, classifier: str, request: pytest.FixtureRequest) -> None:
    export = request.getfixturevalue(classifier).exports[name]
    assert export.state in {"written", "kept"}, export.reason


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(WRITTEN)))
def test_what_cannot_be_written_here_says_how_to_get_it(name: str, exported_digits: Any) -> None:
    export = exported_digits.exports[name]
    assert export.state == "not run"
    assert export.reason == formats()[name].missing()
    assert len(export.reason) > 40


@pytest.mark.parametrize("name", WRITTEN)
def test_its_manifest_tells_everything(name: str, exported_digits: Any) -> None:
    artifact = read_artifact(exported_digits.build / name)
    spec = exported_digits.spec
    assert artifact.source_sha256 == sha256_of(spec.model)
    assert artifact.labels == spec.labels
    assert artifact.preprocessing == spec.preprocessing
    assert artifact.main_file in artifact.files or (exported_digits.build / name / artifact.main_file).is_dir()
    # Channels stand first in an array for Core ML.
    assert [tensor.shape[1:] for tensor in artifact.inputs] == [(1, 32, 32) if name == "coreml-arrays" else (32, 32, 1)]
    assert [tensor.shape[-1] for tensor in artifact.outputs] == [10]
    assert artifact.tool_versions
    assert artifact.tolerance == formats()[name].tolerance
    assert (artifact.calibration_digest is not None) == formats()[name].calibrated


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("classifier", ["exported_digits", "exported_colours"])
def test_its_manifest_keeps_to_the_published_schema(name: str, classifier: str, request: pytest.FixtureRequest) -> None:
    schema = json.loads((ROOT / "models" / "manifest.schema.json").read_text())
    manifest = json.loads((request.getfixturevalue(classifier).build / name / MANIFEST).read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(manifest)


@pytest.mark.parametrize("name", WRITTEN)
def test_its_files_are_those_of_the_manifest(name: str, exported_digits: Any) -> None:
    folder = exported_digits.build / name
    assert what_changed(read_artifact(folder), folder) is None
    assert read_artifact(folder).bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name not in ABOUT)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_converter_talks_into_its_log(name: str, exported_digits: Any) -> None:
    assert (exported_digits.build / name / LOG).is_file()


@pytest.mark.parametrize("name", WRITTEN)
def test_no_half_written_folder_is_left(name: str, exported_digits: Any) -> None:
    assert not list(exported_digits.build.glob(f".{name}*"))


def test_the_manifest_has_a_schema_number(exported_digits: Any) -> None:
    assert json.loads((exported_digits.build / "keras" / MANIFEST).read_text())["schema"] == SCHEMA


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(
        EdgeError,
        match="'tflite-int4' is not a format; did you mean 'tflite-int8'",
        check=lambda error: error.code == "EF-name-unknown",
    ):
        choose(("tflite-int4",))


def test_what_breaks_many_classifiers_is_written_only_when_named() -> None:
    assert {form.name for form in choose(None)} == set(NAMES) - {"coreml-palettized4"}
    assert [form.name for form in choose(("coreml-palettized4",))] == ["coreml-palettized4"]
