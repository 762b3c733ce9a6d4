# SPDX-License-Identifier: Apache-2.0
"""The results of comparing weights, kept next to the model's constants, and what they do to an artifact's rows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.judging.provenance.weight_check import WeightCheck, of_no_reader
from edgeferry.benchmarks.parity.rows import Row, cleaned
from edgeferry.exporters.readers.reader import reader_of, readers
from edgeferry.exporters.weights.constants import WEIGHTS, read_constants
from edgeferry.models.artifact import Artifact, read_artifact
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, digest, write_json

# History: 1, the first.
SCHEMA: Final = 1
CHECKS: Final = "checks.json"
# The code that a result follows from.
CHECK: Final = "edgeferry.benchmarks.parity.judging.provenance.check"


def known_checks(build: Path, artifacts: Mapping[str, Artifact], sha256: Sha256, *, reuse: bool) -> dict[str, WeightCheck]:
    """Return the result for each artifact, computed now or, with ``reuse``, kept from the same files and code."""
    constants = read_constants(build / WEIGHTS, sha256)
    code = CodeDigests(sha256).of(CHECK, *_reader_modules()) if constants is not None else ""
    known = _read(build / WEIGHTS / CHECKS) if constants is not None else {}
    found = {}
    for name, artifact in artifacts.items():
        key = digest([name, artifact.sha256, constants.sha256 if constants else "", _sibling(build, artifact), code])
        kept = _check_of(known.get(key)) if reuse else None
        found[name] = kept or _computed(build, artifact, sha256, key)
    return found


def _reader_modules() -> list[str]:
    return [each.weights.__module__ for each in readers().values() if each.weights is not None]


def _computed(build: Path, artifact: Artifact, sha256: Sha256, key: str) -> WeightCheck:
    reader = reader_of(build / artifact.format / artifact.main_file)
    if reader is None or reader.weights is None:
        return of_no_reader(artifact.kind)
    # It imports numpy, which a run with nothing to do does not need.
    from edgeferry.benchmarks.parity.judging.provenance.check import check_weights

    found = check_weights(build, artifact, sha256)
    if found.not_checked is None:
        path = build / WEIGHTS / CHECKS
        others = {name: each for name, each in _read(path).items() if each.get("format") != artifact.format}
        write_json(path, {"schema": SCHEMA, "checks": others | {key: {"format": artifact.format, **cleaned(asdict(found))}}})
    return found


def with_weights(rows: list[Row], found: WeightCheck | None) -> list[Row]:
    """Return an artifact's rows with the result of comparing its weights: a weight that is not the model's fails every one."""
    if found is None:
        return rows
    return [_with_weights(row, found) for row in rows]


def _with_weights(row: Row, found: WeightCheck) -> Row:
    row = replace(row, environment={**row.environment, "weights": found.summary})
    verdict = row.verdict
    if found.failed:
        reason = f"{verdict.reason}; {found.summary}" if verdict.outcome == "failed" and verdict.reason else found.summary
        return replace(row, verdict=replace(verdict, outcome="failed", reason=reason))
    if found.unexplained and verdict.passed:
        return replace(row, verdict=replace(verdict, reason=f"{verdict.reason}; {found.summary}"))
    return row


def _sibling(build: Path, artifact: Artifact) -> str | None:
    try:
        return read_artifact(build / f"{artifact.kind}-float32").sha256
    except EdgeError:
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return dict(fields["checks"]) if fields["schema"] == SCHEMA else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _check_of(fields: dict[str, Any] | None) -> WeightCheck | None:
    """Return a kept result, None where there is none that can be read."""
    try:
        altered, dropped, unexplained = (tuple(map(str, (fields or {})[name])) for name in ("altered", "dropped", "unexplained"))
        return WeightCheck(int((fields or {})["matched"]), altered, dropped, unexplained)
    except (TypeError, KeyError, ValueError):
        return None
