# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeferry.models.artifact import SCHEMA, Artifact, Tensor, Tolerance, files_of, read_artifact, what_changed, write_manifest
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an artifact's folder: two files, one of them deeper."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "model.bin").write_bytes(b"graph")
    (tmp_path / "weights" / "1.bin").write_bytes(b"numbers")
    (tmp_path / "export.log").write_text("chatter", encoding="utf-8")
    return tmp_path


@pytest.fixture
def artifact(folder: Path) -> Artifact:
    """Return what is known of that folder, its manifest written."""
    artifact = Artifact(
        format="tflite-int8",
        kind="tflite",
        main_file="model.bin",
        source_sha256="ab" * 32,
        inputs=(Tensor("image", (None, 24, 20, 3), "uint8", 1 / 255, 0),),
        outputs=(Tensor("probabilities", (1, 2), "uint8", 1 / 256, -128),),
        output="probabilities",
        labels=("cat", "blåhaj"),
        preprocessing=Preprocessing(24, 20, "bgr", (103.53, 116.28, 123.675), (57.4, 57.1, 58.4), "bicubic", "crop"),
        tolerance=Tolerance(0.98, 0.1, 0.02, "measured"),
        files=files_of(folder),
        key="cd" * 32,
        tool_versions={"tensorflow": "2.21.0"},
        options={"per_channel_dense": False, "opset": 17},
        calibration_digest="ef" * 32,
        notes=("folded",),
    )
    write_manifest(artifact, folder)
    return artifact


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_a_manifest_is_read_as_it_was_written(artifact: Artifact, folder: Path) -> None:
    assert read_artifact(folder) == artifact


def test_a_manifest_names_its_schema(artifact: Artifact, folder: Path) -> None:
    assert artifact.schema == SCHEMA
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["schema"] == SCHEMA


def test_manifest_and_log_are_not_the_artifacts_own_files(artifact: Artifact) -> None:
    assert set(artifact.files) == {"model.bin", "weights/1.bin"}
    assert artifact.bytes == len(b"graph") + len(b"numbers")


def test_the_digest_follows_every_file(artifact: Artifact, folder: Path) -> None:
    (folder / "weights" / "1.bin").write_bytes(b"others!")
    assert replace(artifact, files=files_of(folder)).sha256 != artifact.sha256


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-manifest-missing"):
        read_artifact(tmp_path)


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, None, "1"])
def test_another_schema_is_refused(artifact: Artifact, folder: Path, schema: object) -> None:
    rewrite(folder, schema=schema)
    with pytest.raises(
        EdgeError,
        match=rf"schema {schema!r}; this one reads {artifact.schema}",
        check=lambda error: error.code == "EF-record-schema",
    ):
        read_artifact(folder)


@pytest.mark.usefixtures("artifact")
@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '"a"', "\x00", '{"schema": 2}'])
def test_a_garbage_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(EdgeError, match=r"manifest\.json", check=lambda error: error.code == "EF-manifest-damaged"):
        read_artifact(folder)


@pytest.mark.usefixtures("artifact")
def test_a_binary_manifest_is_refused(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-manifest-damaged"):
        read_artifact(folder)


@pytest.mark.usefixtures("artifact")
@pytest.mark.parametrize(
    "changes",
    [
        {"files": []},
        {"files": {"model.bin": "ab"}},
        {"files": {"model.bin": {"sha256": "ab"}}},
        {"inputs": [{"name": "image"}]},
        {"inputs": None},
        {"labels": None},
        {"tolerance": {"top1_agreement": 1}},
        {"preprocessing": {"height": 24}},
        {"unheard_of": 1},
    ],
)
def test_a_manifest_of_another_form_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    rewrite(folder, **changes)
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-manifest-damaged"):
        read_artifact(folder)


def test_nothing_changed_where_nothing_did(artifact: Artifact, folder: Path) -> None:
    (folder / "export.log").write_text("more chatter", encoding="utf-8")
    (folder / ".DS_Store").touch()
    assert what_changed(artifact, folder) is None


def test_a_missing_file_is_seen(artifact: Artifact, folder: Path) -> None:
    (folder / "weights" / "1.bin").unlink()
    assert what_changed(artifact, folder) == "weights/1.bin is missing"


def test_an_edited_file_of_the_same_size_is_seen(artifact: Artifact, folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"GRAPH")
    assert (
        what_changed(artifact, folder) == "model.bin is not the file that was exported (its sha256 differs from the manifest's)"
    )


def test_an_extra_file_is_seen(artifact: Artifact, folder: Path) -> None:
    (folder / "weights" / "2.bin").touch()
    assert what_changed(artifact, folder) == "weights/2.bin is not in the manifest"


def test_a_folder_that_is_gone_is_seen(artifact: Artifact, folder: Path) -> None:
    assert what_changed(artifact, folder / "gone") == "model.bin is missing"


@pytest.mark.parametrize(
    "changes",
    [
        {"main_file": 5},
        {"main_file": "../other/model.bin"},
        {"main_file": "/etc/passwd"},
        {"labels": [{}]},
        {"tolerance": {"top1_agreement": "much", "p99_difference": 0.1, "mean_difference": 0.1, "reason": "a"}},
        {"tool_versions": {"keras": []}},
        {"made_from": []},
        {"inputs": [{"name": {}, "shape": [1], "dtype": "uint8"}]},
        {"precision": []},
    ],
)
@pytest.mark.usefixtures("artifact")
def test_a_field_of_another_type_or_a_file_elsewhere_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    rewrite(folder, **changes)
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-manifest-damaged"):
        read_artifact(folder)
