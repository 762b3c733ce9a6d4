# SPDX-License-Identifier: Apache-2.0
"""What is installed here, found out without importing it."""

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Final

# NVIDIA's driver makes it for the first device.
CUDA_DEVICE: Final = Path("/dev/nvidia0")


def versions_of(*names: str, below: Path | None = None) -> dict[str, str]:
    """Return the versions of those distributions that are installed, in this Python or in the site-packages folder ``below``."""
    where = sys.path if below is None else [str(below)]
    found = {name: next(iter(distributions(name=name, path=where)), None) for name in names}
    return {name: distribution.version for name, distribution in found.items() if distribution is not None}


def file_identity(program: str | None) -> str:
    """Return what a program is known by instead of its version, which takes longer to ask than all the rest: path, size, time."""
    if program is None:
        return "none"
    facts = Path(program).stat()
    return f"{program} {facts.st_size} {facts.st_mtime_ns}"


def runtime(*names: str) -> dict[str, str]:
    """Return how a run's environment names what ran it: the first of the distributions that is installed, and its version."""
    name, version = next(iter(versions_of(*names).items()), (names[0], "unknown"))
    return {"runtime": name, "version": version}


def versions(*names: str) -> Callable[[], Mapping[str, str]]:
    """Return a target's ``versions``: those of the distributions named."""
    return lambda: versions_of(*names)


def no_cuda(then: str) -> str | None:
    """Return why nothing can run on an NVIDIA GPU here, or None; ``then`` says what to do on a machine that has one."""
    if CUDA_DEVICE.exists():
        return None
    return f"no CUDA device: {CUDA_DEVICE} is absent; on a machine with an NVIDIA GPU and its driver, {then}"


def needs(module: str) -> Callable[[], str | None]:
    """Return a target's ``missing``: None where a module can be imported here, else how to get it."""
    return lambda: (
        None if find_spec(module) is not None else f"the Python package {module} is not installed: `make install` installs it"
    )
