# SPDX-License-Identifier: Apache-2.0
"""What an output for a CI system is, and which there are: a module of this folder that binds ``OUTPUTS`` adds some."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import edgeferry.benchmarks.report.ci
from edgeferry.models.system.registry import records_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeferry.benchmarks.parity.rows import Report


@dataclass(frozen=True)
class CiOutput:
    """A file that a CI system reads, written where the option ``--<name> FILE`` names it.

    ``text`` returns what the file holds; it is handed the report and the model's build folder.
    """

    name: str
    help: str
    text: "Callable[[Report, Path], str]"


@cache
def ci_outputs() -> dict[str, CiOutput]:
    """Return every output by the name of its option."""
    found = [output for _, output in records_in(edgeferry.benchmarks.report.ci, "OUTPUTS")]
    return {output.name: output for output in sorted(found, key=lambda output: output.name)}
