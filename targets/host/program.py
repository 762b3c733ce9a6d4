# SPDX-License-Identifier: Apache-2.0
"""Another program, run to its end in a clean environment; a failure is reported with the program's last line."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# Variables that would make another Python or Node load our modules.
NOT_PASSED_ON: Final = ("NODE_OPTIONS", "NODE_PATH", "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV")
LONGEST_S: Final = 1500.0


def run_program(command: Sequence[str | Path], folder: Path, *, may_end_with: tuple[int, ...] = (0,)) -> None:
    """Run a program in a folder; its output goes where ours goes.

    Raises:
        RuntimeError: its status is not in ``may_end_with``, a signal killed it, or it took too long; the message ends in its
            last line.
    """
    name = Path(command[0]).name
    try:
        ended = _ended(command, folder)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{name} took longer than {LONGEST_S:.0f} s and was ended") from None
    output = ended.stderr.decode("utf-8", "replace").strip()
    if output:
        print(output)  # noqa: T201 - a target's output is its log
    if ended.returncode in may_end_with:
        return
    killed = signal.Signals(-ended.returncode).name if ended.returncode < 0 else None
    how = f"was killed by {killed}" if killed else f"exited with status {ended.returncode}"
    raise RuntimeError(f"{name} {how}: {output.splitlines()[-1] if output else 'it printed nothing'}")


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
