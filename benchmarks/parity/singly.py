# SPDX-License-Identifier: Apache-2.0
"""The results that a check would have, known before any runs, and each of them run by itself."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from edgeferry.benchmarks.parity.bench import Bench, open_bench
from edgeferry.benchmarks.parity.rows import NO_TARGET, Row
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.models.artifact import read_artifact
from edgeferry.models.exports import Export, read_exports
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.process.owner import owned
from edgeferry.targets.target import Target


@dataclass(frozen=True)
class PlannedResult:
    """A format on a target, None where it runs nowhere; ``missing`` says why it cannot run here, or nothing."""

    format: str
    target: Target | None = None
    missing: str = ""

    @property
    def target_name(self) -> str:
        """Return the name of the target, '-' where there is none."""
        return NO_TARGET if self.target is None else self.target.name


def planned_results(build: Path, chosen: Sequence[Target]) -> list[PlannedResult]:
    """Return what a check of a build folder on some targets has results for, by target; nothing is run or digested.

    Raises:
        EdgeError: nothing was exported there.
    """
    found = [each for export in read_exports(build).formats for each in _planned(build, export, chosen)]
    return sorted(found, key=lambda each: (each.target_name, each.format))


def _planned(build: Path, export: Export, chosen: Sequence[Target]) -> list[PlannedResult]:
    if export.state == "not run":
        return [PlannedResult(export.format, missing=export.reason or "it was not exported")]
    able: list[Target] = []
    # Of an artifact that cannot be read the check itself says why.
    with suppress(EdgeError):
        artifact = read_artifact(build / export.format) if export.state != "failed" else None
        able = [target for target in chosen if artifact is not None and target.takes(artifact)]
    return [PlannedResult(export.format, target, target.missing() or "") for target in able] or [PlannedResult(export.format)]


class SingleChecks:
    """Runs planned results of a build folder, in one child process for as long as the target stays the same.

    Several processes may do so at once: each takes the folder's lock for the time of one result.
    """

    def __init__(self, build: Path, tolerances: dict[str, dict[str, float]] | None = None) -> None:
        """Prepare; nothing is read or started. ``tolerances`` are those of a config, in place of those of the export."""
        self._build, self._tolerances = build, tolerances
        self._bench: Bench | None = None
        self._target, self._child = "", Child()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    def row(self, planned: PlannedResult) -> Row:
        """Return the result, run now.

        Raises:
            EdgeError: the build folder has no reference, or cannot be written.
        """
        with owned(self._build, lambda _: None, wait=True):
            if planned.target_name != self._target:
                self._child.stop()
                self._target, self._child = planned.target_name, Child()
            self._bench = self._bench or open_bench(self._build, (), lambda *_: None, reuse=False, tolerances=self._tolerances)
            chosen = () if planned.target is None else (planned.target,)
            rows = run_all(replace(self._bench, targets=chosen, formats=(planned.format,), child=self._child))
        return next(row for row in rows if row.target in {planned.target_name, NO_TARGET})
