# SPDX-License-Identifier: Apache-2.0
"""The command, as a user calls it; the compiler is a stand-in that replays recorded logs and compiles nothing."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from edgeferry.exporters.edgetpu.compilation import LOG
from edgeferry.models.system.places import ROOT

pytestmark = pytest.mark.slow

DATA: Final = ROOT.parent / "shared" / "data" / "edgetpu"
StandIn = Callable[..., Path]


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeferry", "compile", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def compiled(small_tflite: Path, looks_compiled: Callable[[Path], Path]) -> Path:
    """Return the file that the stand-in copies."""
    return looks_compiled(small_tflite)


def test_a_model_is_one_row_with_what_is_left_to_the_cpu(
    stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path
) -> None:
    stand_in("multiple_subgraphs", writes=compiled)
    done = call(small_tflite, "--out", tmp_path / "out", "-a")
    assert done.returncode == 0, done.stderr
    head, row, *rest = done.stdout.splitlines()
    assert head.split() == ["model", "Edge", "TPU", "CPU", "on", "chip", "off", "chip", "compiled"]
    assert row.startswith("small model.tflite  289       5    6.08 MiB  1.70 MiB  ")
    assert "small model_edgetpu.tflite: left to the CPU: 1 TRANSPOSE (Operation is otherwise supported" in done.stdout
    assert "compiler 16.0.384591198, program, sha256 " in rest[-2]
    assert rest[-2].endswith("arguments -s -o . -t 180 -a small model.tflite")
    assert rest[-1].startswith("not checked: ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LOG, "small model_edgetpu.tflite"]


def test_what_a_stand_in_compiled_never_passes(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("all_mapped", writes=compiled)
    done = call(small_tflite, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "passed" not in done.stdout + done.stderr


def test_models_compiled_together_have_a_row_each(stand_in: StandIn, small_tflite: Path, compiled: Path, tmp_path: Path) -> None:
    stand_in("compiled_together", writes=compiled)
    other = shutil.copyfile(small_tflite, tmp_path / "another.tflite")
    done = call(small_tflite, other, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ") for line in done.stdout.splitlines()[1:3]]
    assert [row[0] for row in rows] == ["small model.tflite", "another.tflite"]
    assert "small model_edgetpu.tflite: 6.97 MiB of parameters do not fit into the Edge TPU's memory" in done.stdout


def test_a_rejection_by_the_compiler_is_status_1(stand_in: StandIn, small_tflite: Path, tmp_path: Path) -> None:
    stand_in("internal_error", status=1)
    done = call(small_tflite, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("Internal compiler error. Aborting! [EF-edgetpu-compiler-failed]\n")
    assert "Internal compiler error" in (tmp_path / "out" / LOG).read_text(encoding="utf-8")


def test_an_absent_compiler_is_status_2(small_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETPU_COMPILER", "/no/such/compiler")
    done = call(small_tflite, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "/no/such/compiler" in done.stderr
    assert done.stderr.endswith(" [EF-edgetpu-compiler-missing]\n")


def test_a_wrong_option_is_status_2(stand_in: StandIn, small_tflite: Path, tmp_path: Path) -> None:
    stand_in("all_mapped")
    done = call(small_tflite, "--out", tmp_path / "out", "-m", 9)
    assert (done.returncode, done.stderr) == (2, "edgeferry: min_runtime_version is 9; expected 10 to 14 [EF-edgetpu-options]\n")


def test_what_lint_rejects_is_compiled_only_with_no_lint(stand_in: StandIn, compiled: Path, tmp_path: Path) -> None:
    stand_in("all_mapped", writes=compiled, arguments=tmp_path / "arguments")
    done = call(compiled, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "error: edgetpu-custom-op" in done.stderr
    assert "--no-lint" in done.stderr
    assert done.stderr.endswith(" [EF-edgetpu-lint]\n")
    assert not (tmp_path / "arguments").exists()
    assert call(compiled, "--out", tmp_path / "out", "--no-lint").returncode == 0
    assert (tmp_path / "arguments").exists()


def test_the_help_explains_the_order() -> None:
    text = " ".join(call("--help").stdout.split())
    assert "Their order is their priority" in text


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/edgetpu is not available: files of Google's compiler")
def test_files_that_google_compiled_are_taken(stand_in: StandIn, tmp_path: Path) -> None:
    name = "mobilenet_v1_0.25_128_quant"
    stand_in("all_mapped", writes=DATA / f"{name}_edgetpu.tflite")
    done = call(DATA / f"{name}.tflite", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{name}_edgetpu.tflite").read_bytes() == (DATA / f"{name}_edgetpu.tflite").read_bytes()
