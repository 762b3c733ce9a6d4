# SPDX-License-Identifier: Apache-2.0
"""The compiler is Google's and closed; what stands for it here is a fake, named so, that makes no row pass."""

from pathlib import Path
from typing import Any

import pytest

from exporters import edgetpu
from exporters.source import Source
from models.errors import EdgeError

VERSION = "Edge TPU Compiler version 16.0.384591198"


@pytest.fixture
def fake_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that puts a fake edgetpu_compiler in place, with what it does after ``-v``."""

    def put(body: str) -> Path:
        program = tmp_path / "fake_edgetpu_compiler"
        program.write_text(f'#!/bin/sh\n[ "$1" = -v ] && echo "{VERSION}" && exit 0\n{body}\n')
        program.chmod(0o755)
        monkeypatch.setenv("EDGETPU_COMPILER", str(program))
        return program

    return put


@pytest.fixture
def place(exported_digits: Any) -> Any:
    """Yield a folder beside the int8 artifact."""
    folder = exported_digits.build / ".edgetpu-int8.test"
    folder.mkdir()
    yield folder
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def test_without_a_compiler_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGETPU_COMPILER", raising=False)
    monkeypatch.setenv("PATH", "")
    assert "edgetpu_compiler is not on PATH" in str(edgetpu.missing())
    assert "EDGETPU_COMPILER" in str(edgetpu.missing())


def test_a_compiler_named_but_absent_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETPU_COMPILER", "/no/such/compiler")
    assert edgetpu.missing() == "EDGETPU_COMPILER names /no/such/compiler, which is not a program"


def test_what_the_compiler_wrote_is_kept_with_labels(fake_compiler: Any, place: Path, digits_source: Source) -> None:
    # The fake marks the parent's file as compiled; no Edge TPU would run it.
    fake_compiler("{ cat model.tflite; printf edgetpu-custom-op; } > model_edgetpu.tflite; echo Number of operations: 1")
    assert edgetpu.missing() is None
    written = edgetpu.compile_(digits_source, place)
    assert written.options["compiler"] == VERSION
    assert (place / "compiler.log").read_text().strip() == "Number of operations: 1"
    assert not (place / "model.tflite").exists()


def test_a_success_that_mapped_nothing_is_refused(fake_compiler: Any, place: Path, digits_source: Source) -> None:
    fake_compiler("cp model.tflite model_edgetpu.tflite")
    with pytest.raises(EdgeError, match="mapped no operation to the Edge TPU"):
        edgetpu.compile_(digits_source, place)


def test_a_compiler_that_fails_is_quoted(fake_compiler: Any, place: Path, digits_source: Source) -> None:
    fake_compiler("echo 'Internal compiler error. Aborting!'; exit 1")
    with pytest.raises(EdgeError, match=r"ended with status 1: Internal compiler error. Aborting!"):
        edgetpu.compile_(digits_source, place)


def test_a_compiler_that_writes_nothing_is_refused(fake_compiler: Any, place: Path, digits_source: Source) -> None:
    fake_compiler("echo 'Compilation failed!'")
    with pytest.raises(EdgeError, match="wrote nothing: Compilation failed!"):
        edgetpu.compile_(digits_source, place)


def test_a_compiler_that_takes_too_long_is_ended(
    fake_compiler: Any, place: Path, digits_source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_compiler("exec sleep 30")
    monkeypatch.setattr(edgetpu, "TIMEOUT_S", 1)
    with pytest.raises(EdgeError, match="took longer than 1 s and was ended"):
        edgetpu.compile_(digits_source, place)
