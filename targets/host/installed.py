# SPDX-License-Identifier: Apache-2.0
"""What is installed here, found without importing it, and the commands that install what is missing."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edgeferry.models.system.errors import EXTRAS
from edgeferry.models.system.packages import versions_of
from edgeferry.models.system.places import ROOT

# NVIDIA's driver creates it for the first device.
CUDA_DEVICE: Final = Path("/dev/nvidia0")


def file_identity(program: str | None) -> str:
    """Return path, size and modification time of a program: its version takes longer to find than everything else together."""
    if program is None:
        return "none"
    facts = Path(program).stat()
    return f"{program} {facts.st_size} {facts.st_mtime_ns}"


def runtime(*names: str) -> dict[str, str]:
    """Return a run's runtime for its environment: the first of the distributions that is installed, and its version."""
    name, version = next(iter(versions_of(*names).items()), (names[0], "unknown"))
    return {"runtime": name, "version": version}


def versions(*names: str) -> Callable[[], Mapping[str, str]]:
    """Return a target's ``versions``: those of the distributions named."""
    return lambda: versions_of(*names)


def is_checkout() -> bool:
    """Return whether this is a checkout, whose Makefile installs everything, and not an installed wheel."""
    return (ROOT / "Makefile").is_file()


def installs(module: str, extra: str | None = None) -> str:
    """Return the command that installs a Python package that edgeferry depends on; ``extra`` is one that brings it."""
    extra = extra or EXTRAS.get(module)
    return "`make install`" if is_checkout() else f"`pip install 'edgeferry{f'[{extra}]' if extra else ''}'`"


def pip_installs(requirement: str) -> str:
    """Return the command that installs any Python package next to edgeferry."""
    return f"`{'.venv/bin/python -m pip' if is_checkout() else 'pip'} install '{requirement}'`"


def no_cuda(then: str) -> str | None:
    """Return why nothing can run on an NVIDIA GPU here, or None; ``then`` is what to do on a machine that has one."""
    if CUDA_DEVICE.exists():
        return None
    return f"no CUDA device: {CUDA_DEVICE} does not exist; on a machine with an NVIDIA GPU and its driver, {then}"


def needs(module: str, extra: str | None = None) -> Callable[[], str | None]:
    """Return a target's ``missing``: None where a module can be imported here, else what installs it."""
    return lambda: (
        None
        if find_spec(module) is not None
        else f"the Python package {module} is not installed: {installs(module, extra)} installs it"
    )
