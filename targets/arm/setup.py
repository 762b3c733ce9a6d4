# SPDX-License-Identifier: Apache-2.0
"""Sets up ARM processors below ``.arm/``: what ``make setup-arm`` runs. What is there already is kept."""

import sys
from collections.abc import Callable

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.arm.environments import QEMU, ROOTS, RUNTIMES, check, emulator, install, is_checked
from edgeferry.targets.arm.roots import make_emulators, make_root


def set_up(say: Callable[[str], None]) -> None:
    """Make whatever is missing of emulators, roots and runtimes, and check every processor.

    Raises:
        EdgeError: something cannot be had here, or a processor is emulated wrongly.
    """
    if any(emulator(each.root.architecture) is None for each in RUNTIMES):
        say("unpacking QEMU")
        make_emulators(QEMU)
    for root in dict.fromkeys(each.root for each in RUNTIMES):
        if not (ROOTS / root.name / "usr").is_dir():
            say(f"unpacking Debian {root.suite} for {root.architecture}")
            make_root(root, ROOTS / root.name)
    for runtime in RUNTIMES:
        if all(is_checked(runtime, each) for each in runtime.processors):
            continue
        say(f"installing {runtime.name} for {runtime.root.architecture}")
        install(runtime)
        for processor in runtime.processors:
            say(f"checking {processor.qemu} with {runtime.name}")
            check(runtime, processor)


def _say(what: str) -> None:
    sys.stderr.write(f"edgeferry: {what}\n")
    sys.stderr.flush()


def main() -> int:
    """Set everything up, and return the exit status."""
    try:
        set_up(_say)
    except EdgeError as error:
        _say(f"{error} [{error.code}]")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
