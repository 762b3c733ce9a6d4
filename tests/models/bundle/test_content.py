# SPDX-License-Identifier: Apache-2.0
"""A bundle of the digits classifier: checked like the build folder that it was made of, and failed where that is."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.parity.check import Scope, checked
from edgeferry.models.artifact import files_of, read_artifact
from edgeferry.models.bundle.archive import index_of, write_archive
from edgeferry.models.bundle.content import required_in, unpacked, write_bundle
from edgeferry.models.exports import record_manifest
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_json

FORMAT: Final = "tflite-float32"


@pytest.fixture(scope="module")
def bundle(exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "digits.bundle"
    write_bundle(exported_digits.build, [FORMAT], path)
    return path


def test_a_bundle_is_checked_without_the_build_folder(bundle: Path, tmp_path: Path) -> None:
    place = unpacked(bundle, tmp_path)
    (row,) = checked(None, place, Scope(targets=("litert",)), lambda *_: None, reuse=True).rows
    assert (row.format, row.target, row.outcome) == (FORMAT, "litert", "passed")
    # The model's own constants came along.
    assert "weights" in row.environment
    (again,) = checked(None, place, Scope(targets=("litert",)), lambda *_: None, reuse=True).rows
    assert again.checked == row.checked


def test_no_place_of_this_machine_is_in_a_bundle(bundle: Path, exported_digits: Any) -> None:
    assert str(exported_digits.spec.path.parent).encode() not in bundle.read_bytes()


def test_the_same_build_gives_the_same_bytes(bundle: Path, exported_digits: Any, tmp_path: Path) -> None:
    write_bundle(exported_digits.build, [FORMAT], tmp_path / "again.bundle")
    assert (tmp_path / "again.bundle").read_bytes() == bundle.read_bytes()


def test_a_bundle_made_of_a_wrong_artifact_fails_the_check(bundle: Path, tmp_path: Path) -> None:
    """Whoever exchanges a file can also exchange all digests; the answers are wrong all the same."""
    place = unpacked(bundle, tmp_path / "honest")
    model = place / FORMAT / "model.tflite"
    data = bytearray(model.read_bytes())
    data[len(data) // 2 : -2000] = bytes(len(data[len(data) // 2 : -2000]))
    model.write_bytes(data)
    fields = json.loads((place / FORMAT / "manifest.json").read_text(encoding="utf-8"))
    write_json(place / FORMAT / "manifest.json", {**fields, "files": files_of(place / FORMAT)})
    record_manifest(place, FORMAT)
    (place / "bundle.json").unlink()
    write_archive(place, index_of(place, "digits", ()), tmp_path / "forged.bundle")
    forged = unpacked(tmp_path / "forged.bundle", tmp_path / "forged")
    (row,) = checked(None, forged, Scope(targets=("litert",)), lambda *_: None, reuse=True).rows
    assert row.outcome == "failed"


def test_a_file_changed_after_unpacking_is_noticed(bundle: Path, tmp_path: Path) -> None:
    place = unpacked(bundle, tmp_path)
    (place / "reference" / "scores.npy").write_bytes(b"other")
    with pytest.raises(EdgeError) as error:
        unpacked(bundle, tmp_path)
    assert error.value.code == "EF-bundle-unpacked"


def test_a_damaged_artifact_is_not_bundled(exported_digits: Any, tmp_path: Path) -> None:
    build = shutil.copytree(exported_digits.build, tmp_path / "build")
    (build / FORMAT / read_artifact(build / FORMAT).main_file).write_bytes(b"other")
    with pytest.raises(EdgeError) as error:
        write_bundle(build, [FORMAT], tmp_path / "my.bundle")
    assert error.value.code == "EF-artifact-changed"
    assert not (tmp_path / "my.bundle").exists()


def test_what_the_config_requires_is_required_of_the_bundle(exported_digits: Any, tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    own = exported_digits.spec.path
    text = own.read_text(encoding="utf-8").replace('"source/', f'"{own.parent}/source/')
    config.write_text(f'{text}\n[parity]\nrequire = ["{FORMAT}"]\n', encoding="utf-8")
    build = shutil.copytree(exported_digits.build, tmp_path / "build")
    facts = build / "reference" / "reference.json"
    write_json(facts, {**json.loads(facts.read_text(encoding="utf-8")), "config": str(config)})
    write_bundle(build, [FORMAT], tmp_path / "my.bundle")
    assert required_in(unpacked(tmp_path / "my.bundle", tmp_path / "unpacked")) == (FORMAT,)
