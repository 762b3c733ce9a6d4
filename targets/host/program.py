# SPDX-License-Identifier: Apache-2.0
"""Another program, run to its end in a clean environment; one that fails is told by its own last words."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# What would make another Python or Node load what is ours.
NOT_PASSED_ON: Final = ("NODE_OPTIONS", "NODE_PATH", "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV")
LONGEST_S: Final = 1500.0


def run_program(command: Sequence[str | Path], folder: Path, *, may_end_with: tuple[int, ...] = (0,)) -> None:
    """Run a program in a folder; what it prints goes where ours goes.

    Raises:
        RuntimeError: it ended otherwise than ``may_end_with``, was killed, or took too long; the message ends in its last line.
    """
    name = Path(command[0]).name
    try:
        ended = _ended(command, folder)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{name} took longer than {LONGEST_S:.0f} s and was ended") from None
    said = ended.stderr.decode("utf-8", "replace").strip()
    if said:
        print(said)  # noqa: T201 - a target's output is its log
    if ended.returncode in may_end_with:
        return
    killed = signal.Signals(-ended.returncode).name if ended.returncode < 0 else None
    how = f"was killed by {killed}" if killed else f"ended with status {ended.returncode}"
    raise RuntimeError(f"{name} {how}: {said.splitlines()[-1] if said else 'it said nothing'}")


def _ended(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    return subprocess.run(  # noqa: S603 - programs that missing() found, with file names for arguments
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=LONGEST_S,
        check=False,
    )
