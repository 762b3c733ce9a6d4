# SPDX-License-Identifier: Apache-2.0
"""Where the compiler is and which one it is; compilers and engines are stand-ins, which make no row pass."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeferry.exporters.edgetpu import compiler as edgetpu_compiler
from edgeferry.exporters.edgetpu.compiler import Compiler, find_compiler, missing, run_compiler
from edgeferry.models.system.errors import EdgeError

IMAGE = "somebody/edgetpu:16"
IMAGE_ID = "ab" * 32
# Writes its arguments, one per line with a blank line between calls; knows one image.
ENGINE = f"""\
#!/bin/sh
for each; do printf '%s\\n' "$each"; done >> "$0.arguments"; echo >> "$0.arguments"
case "$1" in
image) [ "$5" = "{IMAGE}" ] && echo "sha256:{IMAGE_ID}" && exit 0; echo "Error: No such image: $5" >&2; exit 1;;
run) shift; while [ "$1" != "{IMAGE}" ]; do shift; done; shift
  [ "$1" = -v ] && echo "Edge TPU Compiler version 16.0.384591198" && exit 0
  [ -n "$STAND_IN_SLEEP_S" ] && sleep "$STAND_IN_SLEEP_S"; echo "ran $*";;
esac
"""


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGETPU_COMPILER", raising=False)
    monkeypatch.delenv("EDGETPU_COMPILER_IMAGE", raising=False)


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the stand-in for a container engine, the only one on PATH, and an image set."""
    program = tmp_path / "engines" / request.param
    program.parent.mkdir()
    program.write_text(ENGINE, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(edgetpu_compiler, "_engine", lambda: str(program))
    monkeypatch.setenv("EDGETPU_COMPILER_IMAGE", IMAGE)
    return program


def calls(engine: Path) -> list[list[str]]:
    text = engine.with_name(f"{engine.name}.arguments").read_text(encoding="utf-8")
    return [call.splitlines() for call in text.split("\n\n") if call]


def test_without_a_compiler_the_reason_is_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "edgetpu_compiler is not on PATH" in str(missing())
    assert "EDGETPU_COMPILER_IMAGE" in str(missing())
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-edgetpu-compiler-missing"):
        find_compiler()


def test_a_compiler_that_is_named_but_absent_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETPU_COMPILER", "/no/such/compiler")
    assert missing() == "EDGETPU_COMPILER names /no/such/compiler, which is not a program"


def test_a_compiler_that_is_not_executable_is_reported(stand_in: Callable[..., Path]) -> None:
    program = stand_in()
    program.chmod(0o644)
    assert missing() == f"EDGETPU_COMPILER names {program}, which is not a program"


def test_a_compiler_and_an_image_are_one_too_many(stand_in: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in()
    monkeypatch.setenv("EDGETPU_COMPILER_IMAGE", IMAGE)
    assert missing() == "EDGETPU_COMPILER and EDGETPU_COMPILER_IMAGE are both set; unset one of them"


def test_the_compiler_on_path_is_found(stand_in: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    program = stand_in()
    monkeypatch.delenv("EDGETPU_COMPILER")
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert missing() is None
    assert find_compiler().sha256 == hashlib.sha256(program.read_bytes()).hexdigest()


def test_a_compiler_is_identified_by_version_and_digest(stand_in: Callable[..., Path]) -> None:
    program = stand_in()
    assert find_compiler() == Compiler("16.0.384591198", hashlib.sha256(program.read_bytes()).hexdigest(), None)


def test_the_digest_is_that_of_the_program_behind_googles_script(stand_in: Callable[..., Path]) -> None:
    bundle = stand_in().parent / "edgetpu_compiler_bin"
    bundle.mkdir()
    (bundle / "edgetpu_compiler").write_bytes(b"the program itself")
    assert find_compiler().sha256 == hashlib.sha256(b"the program itself").hexdigest()


def test_a_relative_name_starts_at_the_current_folder(stand_in: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    program = stand_in()
    monkeypatch.chdir(program.parent)
    monkeypatch.setenv("EDGETPU_COMPILER", "./edgetpu_compiler")
    assert find_compiler().version == "16.0.384591198"


def test_a_program_that_is_not_the_compiler_is_refused(stand_in: Callable[..., Path]) -> None:
    stand_in(version="clang version 18")
    with pytest.raises(EdgeError, match="clang version 18", check=lambda e: e.code == "EF-edgetpu-compiler-unknown"):
        find_compiler()


def test_an_image_is_identified_by_its_id(engine: Path) -> None:
    assert missing() is None
    assert find_compiler() == Compiler("16.0.384591198", IMAGE_ID, IMAGE)
    assert calls(engine)[0] == ["image", "inspect", "--format", "{{.Id}}", IMAGE]


def test_a_container_sees_one_folder_and_no_network_and_downloads_nothing(engine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a folder, with a comma"
    folder.mkdir()
    assert run_compiler(folder, ("-s", "model.tflite"), 10).output == "ran -s model.tflite\n"
    run = calls(engine)[-1]
    for option, value in (("--pull", "never"), ("--network", "none"), ("--platform", "linux/amd64"), ("--workdir", "/work")):
        assert run[run.index(option) + 1] == value
    assert run[run.index("--mount") + 1] == f'type=bind,"source={folder}",target=/work'
    assert run[run.index("--entrypoint") + 1 :] == ["edgetpu_compiler", IMAGE, "-s", "model.tflite"]
    assert "--rm" in run


def test_files_a_container_writes_are_the_users(engine: Path, tmp_path: Path) -> None:
    run_compiler(tmp_path, ("model.tflite",), 10)
    run = calls(engine)[-1]
    assert run[run.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert ("keep-id" in run) == (engine.name == "podman")


def test_a_container_that_takes_too_long_is_killed_by_name(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_SLEEP_S", "30")
    assert run_compiler(tmp_path, ("model.tflite",), 0.5).how == "took longer than 0.5 s and was ended"
    run, kill = calls(engine)[-2:]
    assert kill == ["kill", run[run.index("--name") + 1]]


def test_an_image_that_is_not_here_is_not_downloaded(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETPU_COMPILER_IMAGE", "nobody/nothing")
    reason = f"names nobody/nothing, which {engine.name} does not have (Error: No such image: nobody/nothing)"
    assert reason in str(missing())
    assert {call[0] for call in calls(engine)} == {"image"}


def test_an_image_without_an_engine_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETPU_COMPILER_IMAGE", IMAGE)
    monkeypatch.setenv("PATH", "")
    assert missing() == "EDGETPU_COMPILER_IMAGE is set, but neither docker nor podman is on PATH"
