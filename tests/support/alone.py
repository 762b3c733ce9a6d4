# SPDX-License-Identifier: Apache-2.0
"""Tests that time something run alone: the other workers of the same run wait between two tests of their own."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_at_a_time(run: str, *, alone: bool) -> Iterator[None]:
    """Hold a lock of a run of several workers: with every other test's, or ``alone``."""
    names = [Path(tempfile.gettempdir()) / f"edgeferry-tests-{run}.{part}" for part in ("next", "running")]
    # One that waits to be alone holds the first lock, so that no other test begins before it.
    with _locked(names[1], fcntl.LOCK_EX if alone else fcntl.LOCK_SH, after=names[0]):
        yield


@contextmanager
def _locked(name: Path, how: int, after: Path) -> Iterator[None]:
    with name.open("a") as lock:
        with after.open("a") as turnstile:
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            fcntl.flock(lock, how)
            fcntl.flock(turnstile, fcntl.LOCK_UN)
        try:
            yield
        finally:
            # A child of a fork may still have the file open.
            fcntl.flock(lock, fcntl.LOCK_UN)
