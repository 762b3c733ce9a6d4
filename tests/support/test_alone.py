# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

WORKER: Final = """
import sys, time
from pathlib import Path
from alone import one_at_a_time

times = []
for _ in range(3):
    with one_at_a_time(sys.argv[1], alone=sys.argv[2] == "alone"):
        begin = time.monotonic()
        time.sleep(0.15)
        print(begin, time.monotonic())
"""


def _intervals(run: str, *modes: str) -> list[list[tuple[float, float]]]:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, run, mode],
            env={"PYTHONPATH": str(Path(__file__).parent)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for mode in modes
    ]
    printed = [worker.communicate()[0].split() for worker in workers]
    return [list(zip(map(float, text[::2]), map(float, text[1::2]), strict=True)) for text in printed]


def _overlap(first: list[tuple[float, float]], second: list[tuple[float, float]]) -> bool:
    return any(begin < other_end and other_begin < end for begin, end in first for other_begin, other_end in second)


@pytest.fixture
def run(tmp_path: Path) -> str:
    """Return the name of a run that is no other's."""
    return f"{tmp_path.parent.name}-{tmp_path.name}"


def test_one_that_is_alone_overlaps_with_no_other(run: str) -> None:
    one, others, alone_too = _intervals(run, "alone", "together", "alone")
    assert not _overlap(one, others)
    assert not _overlap(one, alone_too)
    assert not _overlap(others, alone_too)


def test_others_run_together(run: str) -> None:
    assert _overlap(*_intervals(run, "together", "together"))
