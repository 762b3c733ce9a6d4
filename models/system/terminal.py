# SPDX-License-Identifier: Apache-2.0
"""What all commands share: exit statuses, errors as one line, and progress on stderr."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final, Protocol

from edgeferry.models.system.errors import EdgeError, missing_package
from edgeferry.models.system.text import plain

STEPS_BEFORE_ESTIMATE: Final = 3


class Exit(IntEnum):
    """The exit statuses of ``edgeferry``."""

    HELD = 0
    FAILED = 1
    NOTHING = 2
    DEFECT = 3
    INTERRUPTED = 130
    TERMINATED = 143


class Step(Protocol):
    """A function called with the name of each step, and where steps are counted with its number from 1 and their total."""

    def __call__(self, text: str, number: int = 0, total: int = 0, /) -> None:
        """Show a step."""


@contextmanager
def report_errors() -> Iterator[None]:
    """End the program with one line and a status on a user's mistake, a missing package or Ctrl-C; never with a traceback."""
    try:
        yield
    except EdgeError as error:
        print_error(error)
        raise SystemExit(Exit.NOTHING) from None
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        print_error(missing)
        raise SystemExit(Exit.NOTHING) from None
    except KeyboardInterrupt:
        sys.stderr.write("edgeferry: interrupted; finished work is kept.\n")
        raise SystemExit(Exit.INTERRUPTED) from None


def print_error(error: EdgeError) -> None:
    """Print an error on stderr as one line that ends in its code."""
    sys.stderr.write(f"edgeferry: {plain(str(error))} [{error.code}]\n")


@contextmanager
def progress() -> Iterator[Step]:
    """Yield a function that shows each step on stderr: a spinner with the time on a terminal, otherwise one line per step."""
    level = logging.getLogger("edgeferry").level
    if level >= logging.ERROR:
        yield _nothing
        return
    if level == logging.DEBUG or not sys.stderr.isatty():
        yield _counted(lambda line: print(f"edgeferry: {line}", file=sys.stderr, flush=True))  # noqa: T201 - the line is the product
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("starting")
        yield _counted(lambda line: bar.update(task, description=line))


def _nothing(_text: str, _number: int = 0, _total: int = 0) -> None:
    """Show nothing."""


def _counted(show: Callable[[str], None]) -> Step:
    """Return a step that shows ``[14/47] checking ..., about 2 min left``, estimated from the steps before."""
    begun: dict[int, float] = {}

    def step(text: str, number: int = 0, total: int = 0) -> None:
        text = plain(text)
        if not total:
            show(text)
            return
        now = time.monotonic()
        first, started = next(iter(begun.items()), (number, now))
        begun.setdefault(number, now)
        left = (now - started) / (number - first) * (total - number + 1) if number - first >= STEPS_BEFORE_ESTIMATE else 0
        show(f"[{number}/{total}] {text}{f', about {_duration(left)} left' if left >= 1 else ''}")

    return step


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def model_build(build: Path, name: str) -> Path:
    """Return the folder that holds everything of one model."""
    return (build / name).resolve()
