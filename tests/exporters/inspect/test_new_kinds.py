# SPDX-License-Identifier: Apache-2.0
"""A new kind of file: with a reader in one new module, and as an artifact that no reader knows."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

import edgeferry.exporters
from edgeferry.exporters.inspect.inspection import inspect
from edgeferry.exporters.inspect.text import lines
from edgeferry.exporters.readers.reader import reader_of, readers
from edgeferry.exporters.readers.record import json_of
from edgeferry.models.artifact import MANIFEST, Artifact, Tensor, Tolerance, files_of, read_artifact, write_manifest
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT

SCHEMA: Final = json.loads((ROOT / "exporters" / "inspect" / "inspection.schema.json").read_text(encoding="utf-8"))
TOY: Final = """\
from dataclasses import dataclass

from edgeferry.exporters.readers.reader import Reader, first_bytes
from edgeferry.exporters.readers.record import Inspection, counted, weighed
from edgeferry.models.artifact import Tensor


@dataclass(frozen=True)
class ToyFacts:
    colour: str


def read(path):
    return Inspection(
        kind="toy",
        bytes=path.stat().st_size,
        operations=counted([("PLAY", 2), ("PLAY", 2)]),
        inputs=(Tensor("image", (1, None), "uint8"),),
        outputs=(),
        weights=weighed([("int3", "per-row", 7)]),
        facts=ToyFacts("red"),
    )


READERS = (Reader("toy", "Toy model", lambda path: first_bytes(path).startswith(b"TOY!"), read),)
"""


@pytest.fixture
def toy_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add one module with a reader to the exporters."""
    folder = tmp_path / "exporters with one more module"
    folder.mkdir()
    (folder / "toy_for_a_test.py").write_text(TOY, encoding="utf-8")
    monkeypatch.setattr(edgeferry.exporters, "__path__", [*edgeferry.exporters.__path__, str(folder)])
    readers.cache_clear()
    yield
    readers.cache_clear()
    sys.modules.pop("edgeferry.exporters.toy_for_a_test", None)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Return the folder of an artifact of the kind "toy"."""
    folder = tmp_path / "build" / "toy-int3"
    folder.mkdir(parents=True)
    (folder / "model.toy").write_bytes(b"TOY! and more")
    (folder / "data.bin").write_bytes(bytes(100))
    record = Artifact(
        format="toy-int3",
        kind="toy",
        main_file="model.toy",
        source_sha256="0" * 64,
        inputs=(Tensor("image", (1, 8, 8, 3), "uint8", 0.5, 3),),
        outputs=(Tensor("scores", (1, 2), "float32"),),
        output="probabilities",
        labels=("cat", "dog"),
        preprocessing=Preprocessing(8, 8, "rgb", (0.0,) * 3, (1.0,) * 3, "bilinear", "stretch"),
        tolerance=Tolerance(0.97, 0.4, 0.08, "3-bit weights"),
        files=files_of(folder),
        key="1" * 64,
        options={"bits": 3, "nested": {"a": [1, 2]}},
    )
    write_manifest(record, folder)
    return folder


def validated(path: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(json.dumps(json_of(inspect(path), str(path)), allow_nan=False))
    jsonschema.validate(fields, SCHEMA)
    return fields


@pytest.mark.usefixtures("toy_reader")
def test_one_new_module_makes_its_kind_readable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"TOY! and more")
    found = inspect(tmp_path / "file")
    assert (found.kind, found.facts.colour) == ("toy", "red")
    text = list(lines("file", found))
    assert text[0] == "file: Toy model, 13 bytes"
    assert "    2 x PLAY, version 2" in text
    assert "  colour: red" in text
    assert validated(tmp_path / "file")["facts"] == {"colour": "red"}


@pytest.mark.usefixtures("toy_reader")
def test_an_artifact_is_read_by_the_new_reader(artifact: Path) -> None:
    assert inspect(artifact).facts.colour == "red"


@pytest.mark.usefixtures("toy_reader")
def test_a_refusal_names_the_new_kind(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"something else")
    with pytest.raises(EdgeError, match="Toy model", check=lambda e: e.code == "EF-file-kind"):
        inspect(tmp_path / "file")


@pytest.mark.usefixtures("toy_reader")
def test_a_damaged_artifact_of_a_kind_with_a_reader_is_refused(artifact: Path) -> None:
    (artifact / "model.toy").write_bytes(b"gone")
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-file-damaged"):
        inspect(artifact)


def test_listing_the_readers_imports_no_framework() -> None:
    script = (
        "import sys; from edgeferry.exporters.readers.reader import readers; print(sorted(readers())); "
        "print({'tensorflow', 'coremltools', 'onnx', 'google', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["['coreml', 'edgetpu', 'onnx', 'openvino', 'tfjs', 'tflite']", "set()"]


def test_without_its_module_the_kind_has_no_reader(artifact: Path) -> None:
    assert reader_of(artifact / "model.toy") is None


def test_an_artifact_of_an_unknown_kind_shows_what_its_manifest_records(artifact: Path) -> None:
    found = inspect(artifact)
    assert (found.kind, found.bytes, found.operations, found.weights) == ("toy", 113, None, None)
    assert found.inputs == read_artifact(artifact).inputs
    assert [(check.name, check.state) for check in found.checks] == [("files", "passed")]
    text = list(lines("toy", found))
    assert text[0] == "toy: toy, 113 bytes"
    for line in (
        "  input: image, uint8, 1 x 8 x 8 x 3, scale 0.5, zero point 3",
        "  output: scores, float32, 1 x 2",
        "  operations: not read",
        "  format: toy-int3",
        "  files: data.bin 100, model.toy 13",
        "  labels: 2",
    ):
        assert line in text
    assert any("bits 3" in line for line in text)
    assert any("top1_agreement 0.97" in line for line in text)


def test_its_json_follows_the_published_schema(artifact: Path) -> None:
    fields = validated(artifact)
    assert fields["facts"]["options"] == {"bits": 3, "nested": {"a": [1, 2]}}
    assert fields["facts"]["files"] == {"data.bin": 100, "model.toy": 13}


@pytest.mark.parametrize("spoil", ["changed", "removed", "added"])
def test_files_that_are_not_those_of_the_manifest_fail(artifact: Path, spoil: str) -> None:
    if spoil == "removed":
        (artifact / "data.bin").unlink()
    else:
        (artifact / ("data.bin" if spoil == "changed" else "another")).write_bytes(b"1")
    assert inspect(artifact).failed


def test_a_main_file_outside_the_folder_is_refused(artifact: Path) -> None:
    write_manifest(replace(read_artifact(artifact), main_file="../other"), artifact)
    with pytest.raises(EdgeError, match="not below the folder", check=lambda e: e.code == "EF-manifest-damaged"):
        inspect(artifact)


def test_a_parent_of_an_unknown_kind_is_refused(artifact: Path) -> None:
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-parent-unexpected"):
        inspect(artifact, artifact / MANIFEST)


def test_the_command_ends_with_status_1_where_its_files_changed(artifact: Path) -> None:
    (artifact / "data.bin").write_bytes(b"1")
    line = [sys.executable, "-m", "edgeferry", "inspect", str(artifact)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (1, "")
    assert "  files: failed: data.bin" in done.stdout
