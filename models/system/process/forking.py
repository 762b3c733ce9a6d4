# SPDX-License-Identifier: Apache-2.0
"""Processes that have Keras from their start: on Linux they are forks of one that has imported it and done nothing else.

An import of Keras with TensorFlow takes 3 s of CPU time, a fork milliseconds. Elsewhere each imports it for itself:
on a Mac, system libraries do not survive a fork.
"""

import multiprocessing
import sys
from functools import lru_cache
from multiprocessing import forkserver, util
from multiprocessing.context import BaseContext
from typing import Final

FORKS: Final = sys.platform == "linux"
# The process that is forked imports it.
PRELOAD: Final = "edgeferry.models.system.process.keras_preloaded"
# After every process that multiprocessing ends at the exit, and before its temporary files go.
LAST: Final = -50


def context_of(*, with_keras: bool) -> BaseContext:
    """Return how to start a process; ``with_keras`` is for one that will import Keras in any case."""
    if not (with_keras and FORKS):
        return multiprocessing.get_context("spawn")
    return _forking()


@lru_cache(maxsize=1)
def _forking() -> BaseContext:
    multiprocessing.set_forkserver_preload([PRELOAD])
    util.Finalize(None, _end, exitpriority=LAST)
    return multiprocessing.get_context("forkserver")


def _end() -> None:
    """Wait for the process that is forked, so that its CPU time, and that of its forks, counts as this process's children's."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # noqa: SLF001 - without it nothing waits
