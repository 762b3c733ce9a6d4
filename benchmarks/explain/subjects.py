# SPDX-License-Identifier: Apache-2.0
"""Which artifacts to explain, on which targets: those named, or those that failed, or the one that differs most."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from edgeferry.benchmarks.explain.run import Subject
from edgeferry.benchmarks.parity.rows import NO_TARGET, REPORT, Row
from edgeferry.benchmarks.report.report import read_report
from edgeferry.exporters.format import choose as choose_formats
from edgeferry.models.artifact import MANIFEST, Artifact, read_artifact
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Target, choose, targets


def subjects_in(build: Path, formats: tuple[str, ...], names: tuple[str, ...]) -> list[Subject]:
    """Return what to explain in a build folder.

    Raises:
        EdgeError: a format or target is unknown or was not exported, or there is nothing to explain.
    """
    choose_formats(formats)
    choose(names or None)
    if absent := [name for name in formats if not (build / name / MANIFEST).is_file()]:
        raise EdgeError("EF-explain-not-exported", f"{build} holds no {absent[0]}; export it with `make export-all` first.")
    rows = _rows(build)
    if formats and names:
        able = [(name, target) for name in formats for target in choose(names) if target.takes(read_artifact(build / name))]
        found = [Subject(build / name, target, _outcome(rows, name, target.name)) for name, target in able]
    else:
        found = list(_of_rows(build, rows, formats, names)) or list(_unchecked(build, formats, names))
    if not found:
        raise EdgeError(
            "EF-explain-nothing",
            f"{build} holds no artifact that was checked on a target of this machine; run `edgeferry check {build}` first, or "
            "name --format and --target.",
        )
    return found


def _rows(build: Path) -> list[Row]:
    with suppress(EdgeError):
        if (build / REPORT).is_file():
            return [row for row in read_report(build / REPORT).rows if row.target != NO_TARGET]
    return []


def _of_rows(build: Path, rows: Sequence[Row], formats: tuple[str, ...], names: tuple[str, ...]) -> Iterator[Subject]:
    """Yield the failed rows of these formats and targets, or where none failed the one that differs most."""
    compared = [
        row for row in rows if _is_here(row) and (not formats or row.format in formats) and (not names or row.target in names)
    ]
    groups = [[row for row in compared if row.format == name] for name in formats] if formats else [compared]
    for group in groups:
        failed = [row for row in group if row.outcome == "failed"]
        # The layers of what a target here shows itself say most.
        most = max(group, key=lambda row: (_shows(row), row.metric("mean_difference") or 0.0), default=None)
        for row in failed or ([most] if most else []):
            yield Subject(build / row.format, targets()[row.target], row.outcome)


def _is_here(row: Row) -> bool:
    return row.target in targets() and row.outcome in {"passed", "failed", "inconclusive"}


def _shows(row: Row) -> bool:
    return targets()[row.target].tensors is not None


def _unchecked(build: Path, formats: tuple[str, ...], names: tuple[str, ...]) -> Iterator[Subject]:
    """Yield the artifacts named, each on the first target named or here that shows its layers, or else runs it."""
    for name in formats:
        artifact = read_artifact(build / name)
        if (target := _target_for(artifact, names)) is not None:
            yield Subject(build / name, target)


def _target_for(artifact: Artifact, names: tuple[str, ...]) -> Target | None:
    able = [each for each in choose(names or None) if each.judged and each.takes(artifact) and each.missing() is None]
    return next((each for each in able if each.tensors is not None), able[0] if able else None)


def _outcome(rows: Sequence[Row], form: str, target: str) -> str:
    return next((row.outcome for row in rows if (row.format, row.target) == (form, target)), "")
