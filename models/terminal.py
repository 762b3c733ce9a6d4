# SPDX-License-Identifier: Apache-2.0
"""What the commands of all folders share: progress on stderr, and a user's mistake told in one sentence."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from models.errors import EdgeError

# Told what is begun.
Step = Callable[[str], None]

NOTHING_CHECKED: Final = 2
INTERRUPTED: Final = 130


@contextmanager
def told() -> Iterator[None]:
    """End the program with one message, not a stack trace, on a user's mistake or Ctrl-C."""
    try:
        yield
    except EdgeError as error:
        sys.stderr.write(f"edgeferry: {error}\n")
        raise SystemExit(NOTHING_CHECKED) from None
    except KeyboardInterrupt:
        sys.stderr.write("edgeferry: interrupted; what was finished is kept.\n")
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def progress() -> Iterator[Step]:
    """Yield a function that shows what is being done on stderr: a spinner and the time on a terminal, a line each otherwise."""
    if not sys.stderr.isatty():
        yield lambda step: print(f"edgeferry: {step}", file=sys.stderr, flush=True)  # noqa: T201 - the line is the product
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("looking at what there is")
        yield lambda step: bar.update(task, description=step)


def model_build(build: Path, name: str) -> Path:
    """Return where everything of one model stands."""
    return (build / name).resolve()
