# SPDX-License-Identifier: Apache-2.0
"""Emulated processors: what is checked before any verdict, and the same where they are set up."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeferry.benchmarks.parity.judging.expected import images_to_run
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.arm import environments, roots
from edgeferry.targets.arm.environments import CHECKER, KNOWN, KNOWN_ANSWERS, RUNTIMES, is_checked, key_of, problem_of
from edgeferry.targets.arm.processors import ARM, CORTEX_A7, CORTEX_A53, CORTEX_A76
from edgeferry.targets.arm.roots import ended_in_time, make_root
from edgeferry.targets.target import Job, targets

LITERT = next(each for each in RUNTIMES if each.name == "litert")
KNOWN_TO_BE = json.loads(KNOWN_ANSWERS.read_text(encoding="utf-8"))["answers"]


def said(**changed: Any) -> dict[str, Any]:
    return {"machine": "aarch64", "main_id": {"implementer": ARM, "part": CORTEX_A53.part}, "answers": KNOWN_TO_BE, **changed}


def test_the_known_answers_are_those_of_this_machine_s_runtime() -> None:
    done = subprocess.run([sys.executable, CHECKER, KNOWN], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["answers"] == KNOWN_TO_BE
    assert len({tuple(each) for each in KNOWN_TO_BE}) == len(KNOWN_TO_BE)


def test_the_processor_that_was_asked_for_passes() -> None:
    assert problem_of(said(), CORTEX_A53) == ""


def test_another_processor_is_refused() -> None:
    assert "another processor, {'implementer': 65, 'part': 3331}" in problem_of(said(), CORTEX_A76)


def test_an_answer_one_step_off_is_rounding_and_two_steps_are_a_fault() -> None:
    off = np.array(KNOWN_TO_BE)
    off[1, 4] += 1
    assert problem_of(said(answers=off.tolist()), CORTEX_A53) == ""
    off[1, 4] += 1
    assert "an answer to a known question is off by 2 of 255 steps" in problem_of(said(answers=off.tolist()), CORTEX_A53)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that records a check of a runtime whose files, QEMU's among them, are stand-ins."""
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setattr(environments, "emulator", lambda _: tmp_path / "qemu")
    (tmp_path / "qemu").write_text("1", encoding="utf-8")
    LITERT.program(CORTEX_A53).parent.mkdir(parents=True)
    LITERT.program(CORTEX_A53).write_text("#!/bin/sh\n", encoding="utf-8")

    def checked() -> None:
        record = {"key": key_of(LITERT, CORTEX_A53), **said()}
        LITERT.record(CORTEX_A53).write_text(json.dumps(record), encoding="utf-8")

    return checked


@pytest.mark.parametrize("changed", ["qemu", "litert/bin/cortex-a53"])
def test_a_check_holds_until_the_emulator_or_the_program_changes(fake: Callable[[], None], tmp_path: Path, changed: str) -> None:
    assert not is_checked(LITERT, CORTEX_A53)
    fake()
    assert is_checked(LITERT, CORTEX_A53)
    (tmp_path / changed).write_text("another one", encoding="utf-8")
    assert not is_checked(LITERT, CORTEX_A53)


def test_a_system_without_debian_s_packages_is_told_so_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "KEYRING", tmp_path / "none")
    with pytest.raises(EdgeError, match="this system has no apt with Debian's keys") as refused:
        make_root(LITERT.root, tmp_path / "root")
    assert refused.value.code == "EF-arm-setup"
    assert not list(tmp_path.iterdir())


def test_only_wheels_that_are_locked_are_installed() -> None:
    for runtime in RUNTIMES:
        lines = runtime.lock.read_text(encoding="utf-8").splitlines()
        assert all(line.endswith("\\") for line in lines[::2])
        assert all(line.strip().startswith("--hash=sha256:") for line in lines[1::2])


# Where they are set up.


@pytest.fixture
def is_set_up() -> None:
    """Skip where no processor is set up here."""
    if why := targets()["arm-a53-litert"].missing():
        pytest.skip(why)


@pytest.mark.usefixtures("is_set_up")
def test_a_processor_that_computes_wrongly_is_found_out(tmp_path: Path) -> None:
    wrong = LITERT.program(CORTEX_A53).read_text(encoding="utf-8").replace("-cpu cortex-a53", "-cpu max")
    (tmp_path / "max").write_text(wrong, encoding="utf-8")
    done = subprocess.run(["sh", tmp_path / "max", "-E", "-s", CHECKER, KNOWN], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert "emulates another processor" in problem_of(found, CORTEX_A53)
    assert "computes wrongly" in problem_of(found | {"main_id": said()["main_id"]}, CORTEX_A53)


@pytest.mark.usefixtures("is_set_up")
def test_the_integers_on_arm_are_those_of_this_machine_but_for_a_step(exported_digits: Any, tmp_path: Path) -> None:
    job = Job(exported_digits.build / "tflite-int8", images_to_run(exported_digits.build), tmp_path / "arm", rounds=1)
    run = targets()["arm-a53-litert"].run(job)
    assert (run.environment["emulated"], run.latencies_ms) == ("cortex-a53", ())
    here = targets()["litert"].run(replace(job, work=tmp_path / "here"))
    assert np.abs(run.scores - here.scores).max() <= 1.01 / 256


def test_a_32_bit_processor_that_is_none_is_refused() -> None:
    found = said(main_id=None)
    assert "QEMU emulates a processor of aarch64; expected armv7l" in problem_of(found, CORTEX_A7)
    assert problem_of(found | {"machine": "armv7l"}, CORTEX_A7) == ""


def test_a_program_that_takes_too_long_is_one_sentence() -> None:
    with pytest.raises(EdgeError, match="sleep took longer than 0 s"):
        ended_in_time(["sleep", "5"], 0)
