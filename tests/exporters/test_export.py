# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.exporters.export import export_all
from edgeferry.models.artifact import MANIFEST, read_artifact, what_changed
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError

FEW = ("keras", "onnx-float32", "tflite-float32")
# Stands in for converters that crash: the process ends when it opens the file to write.
CRASHES: Final = """\
import os, signal, sys

def end(event, arguments):
    if event == "open" and "model.tflite" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGSEGV)

sys.addaudithook(end)
"""


@pytest.fixture(autouse=True)
def _share_child(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every export of this module be in one process: importing TensorFlow takes seconds. One that dies is started again."""
    monkeypatch.setattr("edgeferry.exporters.export.Child", lambda **_: nullcontext(child))


@pytest.fixture
def copied(exported_digits: Any, tmp_path: Path) -> Any:
    """Return the exported classifier in a folder of this test's own."""
    build = tmp_path / "build"
    shutil.copytree(exported_digits.build, build)
    return exported_digits._replace(build=build)


def _export(copied: Any, names: tuple[str, ...] = FEW, **changes: Any) -> tuple[dict[str, Any], list[str]]:
    steps: list[str] = []
    exports = export_all(replace(copied.spec, **changes), copied.build, names, lambda text, *_: steps.append(text))
    return {export.format: export for export in exports}, steps


def test_what_did_not_change_is_kept_and_no_process_is_started(copied: Any) -> None:
    exports, steps = _export(copied)
    assert {export.state for export in exports.values()} == {"kept"}
    assert steps == []


def test_a_tampered_artifact_is_rebuilt_and_that_is_said(copied: Any) -> None:
    file = copied.build / "onnx-float32" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    exports, steps = _export(copied)
    assert exports["onnx-float32"].reason.startswith("rebuilt: model.onnx is not the file that was exported")
    assert steps == ["exporting onnx-float32"]
    assert what_changed(read_artifact(file.parent), file.parent) is None


def test_a_missing_file_is_rebuilt_and_that_is_said(copied: Any) -> None:
    (copied.build / "tflite-float32" / "model.tflite").unlink()
    assert _export(copied)[0]["tflite-float32"].reason == "rebuilt: model.tflite is missing"


def test_a_missing_manifest_means_not_exported(copied: Any) -> None:
    (copied.build / "keras" / MANIFEST).unlink()
    assert _export(copied)[0]["keras"].reason == "not exported before"


def test_another_option_writes_its_format_again_alone(copied: Any) -> None:
    exports, _ = _export(copied, format_options=(("onnx", '{"opset": 15}'),))
    assert exports["onnx-float32"].reason == "option opset: 17 -> 15"
    assert exports["tflite-float32"].state == exports["keras"].state == "kept"


def test_a_format_that_fails_leaves_what_was_there_and_the_others_come_out(copied: Any) -> None:
    before = (copied.build / "onnx-float32" / "model.onnx").read_bytes()
    exports, _ = _export(copied, format_options=(("onnx", '{"opset": 99}'),))
    assert exports["onnx-float32"].state == "failed"
    assert exports["onnx-float32"].code == "EF-onnx-opset"
    assert (copied.build / "onnx-float32" / "model.onnx").read_bytes() == before
    assert exports["tflite-float32"].state == "kept"


@pytest.mark.parametrize("change", [{"formats": ("tflite-int4",)}, {"tolerances": (("tflite-int4", "p99_difference", 0.5),)}])
def test_a_contract_that_speaks_of_an_unknown_format_is_refused(copied: Any, change: dict[str, Any]) -> None:
    with pytest.raises(
        EdgeError, match=r"digits.toml: 'tflite-int4' is not a format", check=lambda error: error.code == "EF-name-unknown"
    ):
        export_all(replace(copied.spec, **change), copied.build, None, lambda *_: None)


def test_int8_without_calibration_images_is_not_run_and_says_so(copied: Any) -> None:
    exports, _ = _export(copied, ("tflite-int8",), calibration=None)
    assert exports["tflite-int8"].state == "not run"
    assert "needs data.calibration in the config" in exports["tflite-int8"].reason


def test_a_build_folder_that_cannot_be_written_is_said(copied: Any) -> None:
    with pytest.raises(EdgeError, match=r"cannot write /dev/null/build.*Not a directory.*--build"):
        export_all(copied.spec, Path("/dev/null/build"), FEW, lambda *_: None)


@pytest.mark.slow
def test_a_converter_that_kills_its_process_is_a_row_and_the_others_come_out(
    copied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a process that Python starts reads sitecustomize; a fork of one that runs does not.
    monkeypatch.setattr("edgeferry.exporters.export.Child", lambda **_: Child())
    (tmp_path / "sitecustomize.py").write_text(CRASHES)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    for name in ("savedmodel", "tflite-int8"):
        shutil.rmtree(copied.build / name)
    exports, _ = _export(copied, ("savedmodel", "tflite-int8"))
    assert exports["tflite-int8"].state == "failed"
    assert "the process was killed by SIGSEGV" in exports["tflite-int8"].reason
    assert (copied.build / "tflite-int8" / "export.log").is_file()
    assert exports["savedmodel"].state == "written"


def test_a_build_folder_of_an_older_release_is_said_to_be_one_and_exported_again(copied: Any) -> None:
    for name in ("onnx-float32", "tflite-float32"):
        manifest = copied.build / name / MANIFEST
        fields = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**{key: value for key, value in fields.items() if key != "made_from"}, "schema": 1}))
    facts = copied.build / "reference" / "reference.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "schema": 1}))
    exports, steps = _export(copied, ("onnx-float32", "container-float32"))
    assert exports["onnx-float32"].state == "written"
    assert exports["container-float32"].state in {"written", "kept"}
    assert exports["onnx-float32"].reason == "exported by another release of edgeferry"
    assert any("older release of edgeferry" in step for step in steps)


def test_another_config_of_the_same_name_is_refused_and_nothing_is_touched(copied: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(copied.spec.path.read_text())
    before = (copied.build / "exports.json").read_bytes()
    with pytest.raises(EdgeError, match="other.toml", check=lambda error: error.code == "EF-name-taken"):
        _export(copied, path=other)
    assert (copied.build / "exports.json").read_bytes() == before


def test_a_project_that_moved_may_go_on_in_its_build_folder(copied: Any, tmp_path: Path) -> None:
    facts = copied.build / "reference" / "reference.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "config": str(tmp_path / "gone.toml")}))
    assert {export.state for export in _export(copied)[0].values()} == {"kept"}


def test_each_change_is_named(copied: Any) -> None:
    exports, _ = _export(copied, options=replace(copied.spec.options, author="A. Trainer"))
    assert {name: export.reason for name, export in exports.items()} == {
        "keras": "nothing changed",
        "onnx-float32": "option author:  -> A. Trainer",
        "tflite-float32": "option author:  -> A. Trainer",
    }
