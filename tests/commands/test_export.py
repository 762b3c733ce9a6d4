# SPDX-License-Identifier: Apache-2.0
"""The commands as a user runs them: in a process of their own, by what they print and the status they end with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeferry.benchmarks.parity import run
from edgeferry.benchmarks.parity.check import Scope, checked
from edgeferry.benchmarks.parity.one_run import Ran
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.exporters.format import formats
from edgeferry.models.artifact import read_artifact
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.files import sha256_of
from edgeferry.models.system.places import ROOT
from edgeferry.targets.target import targets

pytestmark = pytest.mark.slow

ONE = ("--format", "tflite-float32", "--target", "litert")
FEW = ("--format", "tflite-float32", "--format", "onnx-float32", "--target", "litert", "--target", "onnxruntime-cpu")
# One that reads each kind of artifact, without a browser.
READERS = ("coreml-reference", "endpoint", "keras", "litert", "node-wasm", "onnxruntime-cpu", "openvino-cpu")
FRAMEWORKS = ("tensorflow", "keras", "coremltools", "onnx", "onnxruntime", "ai_edge_litert", "playwright", "numpy")


def _run(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeferry", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False, env=os.environ | environment
    )


@pytest.fixture(scope="session")
def exported_all(digits: Any, exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the folder and the output of the command on every format of the default classifier, one of them not exported yet."""
    folder = tmp_path_factory.mktemp("all")
    shutil.copytree(exported_digits.build, folder / "digits", ignore=shutil.ignore_patterns("tflite-int8"))
    targets = (word for name in READERS for word in ("--target", name))
    return folder, _run("export-all", digits.path, "--build", folder, *targets, cwd=folder)


@pytest.fixture(scope="session")
def few_checked(digits: Any, exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the build folder that tests get copies of."""
    build = tmp_path_factory.mktemp("few")
    shutil.copytree(exported_digits.build, build / "digits")
    done = _run("export-all", digits.path, "--build", build, *FEW, cwd=build)
    assert done.returncode == 0, done.stderr
    return build


@pytest.fixture
def few(few_checked: Path, tmp_path: Path) -> Path:
    """Return a build folder with two formats exported and checked."""
    return Path(shutil.copytree(few_checked, tmp_path / "build"))


def test_every_format_passes_or_says_why_not(exported_all: Any) -> None:
    folder, done = exported_all
    rows = json.loads((folder / "digits" / "report.json").read_text())["rows"]
    assert {row["format"] for row in rows} == {name for name, form in formats().items() if form.by_default}
    for row in rows:
        if row["verdict"]["outcome"] != "passed":
            assert row["verdict"]["outcome"] in {"not run", "not checked", "unsupported"}, (
                row["format"],
                row["target"],
                row["verdict"],
            )
            assert len(row["verdict"]["reason"]) > 40
    assert done.returncode == 0


def test_results_are_on_stdout_and_progress_on_stderr(exported_all: Any) -> None:
    _, done = exported_all
    assert "passed" in done.stdout
    assert "exporting" not in done.stdout
    assert "] exporting tflite-int8" in done.stderr
    assert "\x1b" not in done.stdout
    assert "TensorFlow binary" not in done.stdout + done.stderr


def test_each_artifact_is_checked_by_every_target_that_is_available(
    digits: Any, exported_digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        run, "run_one", lambda _, artifact, target, __: Ran(Row(artifact.format, target.name, Verdict("passed", "")))
    )
    build = shutil.copytree(exported_digits.build, tmp_path / "digits")
    rows = checked(digits, build, Scope(), lambda *_: None, reuse=False).rows
    readers = [target for target in targets().values() if target.by_default and not target.missing()]
    for name in {row.format for row in rows if row.outcome == "passed"}:
        artifact = read_artifact(build / name)
        assert {row.target for row in rows if row.format == name} >= {each.name for each in readers if each.takes(artifact)}
    assert {row.format for row in rows if row.outcome == "passed"} >= {"keras", "tfjs-uint8", "tflite-int8"}


def test_a_second_run_imports_no_framework_and_prints_the_same(digits: Any, few: Path) -> None:
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['edgeferry', 'export-all', {str(digits.path)!r}, '--build', {str(few)!r}, *{FEW!r}]\n"
        "try:\n    runpy.run_module('edgeferry', run_name='__main__')\n"
        "except SystemExit as end:\n    status = end.code\n"
        f"print('status', status, 'imported', [n for n in {FRAMEWORKS!r} if n in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "status 0 imported []"
    assert done.stderr == ""


def test_a_second_run_leaves_the_report_as_it_is(digits: Any, few: Path) -> None:
    page = few / "digits" / "report.html"
    before = (page.stat().st_mtime_ns, sha256_of(page))
    _run("export-all", digits.path, "--build", few, *FEW, cwd=few)
    assert (page.stat().st_mtime_ns, sha256_of(page)) == before


def test_a_tampered_artifact_is_rebuilt_and_reported(digits: Any, few: Path) -> None:
    file = few / "digits" / "tflite-float32" / "model.tflite"
    file.write_bytes(file.read_bytes()[:-40])
    done = _run("export-all", digits.path, "--build", few, *ONE, cwd=few)
    assert done.returncode == 0
    assert "tflite-float32 rebuilt: model.tflite is not the file that was exported" in done.stderr


def test_parity_ends_with_1_when_an_artifact_is_wrong(digits: Any, few: Path) -> None:
    file = few / "digits" / "tflite-float32" / "model.tflite"
    file.write_bytes(file.read_bytes()[:-40])
    done = _run("check", digits.path, "--build", few, "--target", "litert", "--target", "onnxruntime-cpu", cwd=few)
    assert done.returncode == 1
    assert "failed" in done.stdout


def test_parity_ends_with_2_when_nothing_was_checked(digits: Any, few: Path) -> None:
    done = _run("check", digits.path, "--build", few, "--format", "onnx-float32", "--target", "keras", cwd=few)
    assert done.returncode == 2
    assert "not checked" in done.stdout


def test_a_check_needs_no_framework_that_exports(digits: Any, few: Path, tmp_path: Path) -> None:
    blocked = ("tensorflow", "keras", "coremltools", "tf2onnx", "tensorflowjs")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(f"import sys\nfor name in {blocked!r}:\n    sys.modules[name] = None\n")
    done = _run(
        "check",
        digits.path,
        "--build",
        few,
        *FEW,
        cwd=few,
        PYTHONPATH=f"{tmp_path / 'site'}{os.pathsep}{ROOT}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_report_is_written_for_ci_systems_and_shown_by_github(digits: Any, few: Path) -> None:
    files = ("--junit", few / "junit.xml", "--gitlab", few / "gitlab.json", "--summary", few / "summary.md")
    required = ("--require", "tflite-float32@litert", "--require", "tflite-float32@tflite-runtime")
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(few / "step.md")}
    done = _run("check", digits.path, "--build", few, *ONE, *required, *files, cwd=few, **github)
    assert done.returncode == 1
    assert '<testcase classname="litert" name="tflite-float32"' in (few / "junit.xml").read_text()
    assert [each["severity"] for each in json.loads((few / "gitlab.json").read_text())] == ["critical"]
    assert (few / "step.md").read_text() == (few / "summary.md").read_text() + "\n"
    assert "::error title=digits%3A not met::tflite-float32@tflite-runtime is required to pass" in done.stdout


def test_report_prints_the_last_table_again(digits: Any, few: Path) -> None:
    (few / "digits" / "report.html").unlink()
    done = _run("report", digits.path, "--build", few, cwd=few)
    assert done.returncode == 0
    assert "2 passed" in done.stdout
    assert (few / "digits" / "report.html").is_file()


def test_a_changed_model_must_be_exported_before_parity(digits: Any, few: Path, tmp_path: Path) -> None:
    shutil.copytree(digits.path.parent, tmp_path / "mine")
    model = tmp_path / "mine" / "source" / "digits.keras"
    model.write_bytes(model.read_bytes() + b" ")
    done = _run("check", tmp_path / "mine" / "digits.toml", "--build", few, cwd=few)
    assert done.returncode == 2
    assert "digits.toml: model.file changed since the export" in done.stderr
    assert done.stderr.startswith("edgeferry: ")


@pytest.mark.parametrize(
    ("was", "now", "key"),
    [
        ('"0", "1"', '"1", "0"', "model.labels"),
        ("[0, 255]", "[0, 1]", "input"),
        ("source/golden", "source/calibration", "data.golden"),
    ],
)
def test_a_changed_config_must_be_exported_before_parity(digits: Any, few: Path, was: str, now: str, key: str) -> None:
    changed = digits.path.with_name(f"changed-{key}.toml")
    changed.write_text(digits.path.read_text().replace(was, now, 1))
    done = _run("check", changed, "--build", few, cwd=few)
    assert done.returncode == 2
    assert f"{key} changed since the export" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.toml", None, "[EF-model-missing]"),
        ("none.keras", None, "[EF-model-missing]"),
        ("text.keras", b"hello", "[EF-model-file-kind]"),
        ("broken.toml", b"[model\n", "not valid TOML"),
    ],
)
def test_a_mistake_is_one_message_and_no_stack_trace(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = _run("export-all", tmp_path / name, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr
    assert str(tmp_path / name) in done.stderr
    assert done.stderr.startswith("edgeferry: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "build").exists()


def test_an_unknown_target_is_refused_by_name(digits: Any, few: Path) -> None:
    done = _run("check", digits.path, "--build", few, "--target", "toaster", cwd=few)
    assert done.returncode == 2
    assert "'toaster' is not a target" in done.stderr
    assert "litert" in done.stderr


def test_a_bare_keras_file_gets_a_starter_config_which_is_success(digits: Any, tmp_path: Path) -> None:
    shutil.copy(digits.model, tmp_path / "mine.keras")
    done = _run("export-all", "mine.keras", cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "mine.toml").is_file()
    assert "assumed: input.range is [0, 255]" in done.stderr
    assert f"starter written: {tmp_path / 'mine.toml'}" in done.stderr
    assert f"edgeferry init {tmp_path / 'mine.keras'} --images FOLDER" in done.stderr


def test_a_starter_is_no_success_where_results_are_required(digits: Any, tmp_path: Path) -> None:
    shutil.copy(digits.model, tmp_path / "mine.keras")
    done = _run("export-all", "mine.keras", "--require", "tflite-float32", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(" [EF-starter-written]\n")


def test_a_bare_keras_file_and_photographs_are_exported_and_pass_in_two_commands(digits: Any, tmp_path: Path) -> None:
    shutil.copy(digits.model, tmp_path / "mine.keras")
    done = _run("init", "mine.keras", "--images", digits.golden, cwd=tmp_path)
    assert done.returncode == 0
    assert f"starter written: {tmp_path / 'mine.toml'}" in done.stdout
    done = _run("export-all", "mine.keras", *ONE, cwd=tmp_path)
    assert done.returncode == 0
    assert "1 passed, 0 failed" in done.stdout


def test_a_bare_keras_file_with_images_next_to_it_is_exported(digits: Any, tmp_path: Path) -> None:
    shutil.copy(digits.model, tmp_path / "mine.keras")
    for part in ("golden", "calibration"):
        shutil.copytree(digits.golden.parent / part, tmp_path / part)
    done = _run("export-all", "mine.keras", *ONE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 passed" in done.stdout


def test_an_untrained_model_is_refused_before_anything_is_written(digits: Any, tmp_path: Path) -> None:
    import keras

    shutil.copytree(digits.path.parent, tmp_path / "mine")
    keras.utils.set_random_seed(0)
    model = keras.models.clone_model(keras.saving.load_model(digits.model))
    model.save(tmp_path / "mine" / "source" / "digits.keras")
    done = _run("export-all", tmp_path / "mine" / "digits.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot serve as the reference" in done.stderr
    assert "Is it trained?" in done.stderr
    assert not list((tmp_path / "build").rglob("manifest.json"))


def test_ctrl_c_leaves_what_was_finished_and_nothing_half(digits: Any, exported_digits: Any, tmp_path: Path) -> None:
    build = tmp_path / "build" / "digits"
    shutil.copytree(exported_digits.build / REFERENCE, build / REFERENCE)
    two = ("--format", "keras", "--format", "savedmodel")
    with subprocess.Popen(
        [sys.executable, "-m", "edgeferry", "export-all", str(digits.path), "--build", "build", *two],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "exporting savedmodel" in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=30) == 130
    assert "interrupted; finished work is kept" in rest
    assert "Traceback" not in rest
    assert {path.parent.name for path in build.rglob("manifest.json")} == {"keras"}
    deadline = time.monotonic() + 10
    while list(build.glob(".*.partial")) and time.monotonic() < deadline:
        time.sleep(0.1)
    again = _run("export", digits.path, "--build", "build", *two, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert not list(build.glob(".*.partial"))
    assert "exporting keras" not in again.stderr
