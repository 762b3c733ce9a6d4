# SPDX-License-Identifier: Apache-2.0
"""A quiet machine for what is timed: where several jobs run side by side, one asks for it, and the others stand still meanwhile.

A job asks with a file in its working folder, and goes on when the answer is there. Files, because Python's, Node's and an old
runtime's program all ask in this way; what answers is ``edgeferry.benchmarks.parity.lanes``.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# The same names stand in device.py and client/node_main.js, which import nothing.
WANTED: Final = "quiet.wanted"
GRANTED: Final = "quiet.granted"
POLL_S: Final = 0.005


def ask(work: Path) -> None:
    """Ask for a quiet machine in a job's working folder, and return when it is quiet."""
    (work / WANTED).touch()
    while not (work / GRANTED).exists():
        time.sleep(POLL_S)


def release(work: Path) -> None:
    """Say that the quiet machine is needed no longer."""
    (work / WANTED).unlink(missing_ok=True)


@contextmanager
def quiet(work: Path, *, asks: bool) -> Iterator[None]:
    """Run a block on a quiet machine; where the job need not ask, it is quiet already."""
    if not asks:
        yield
        return
    ask(work)
    try:
        yield
    finally:
        release(work)
