# SPDX-License-Identifier: Apache-2.0
"""The report on a model: every row, the machine, and the versions of the tools that were used."""

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from edgeferry.benchmarks.parity.bench import Bench, open_bench
from edgeferry.benchmarks.parity.earlier import earlier_rows
from edgeferry.benchmarks.parity.reading import report_of
from edgeferry.benchmarks.parity.required import check_required, targets_in, unmet
from edgeferry.benchmarks.parity.rows import REPORT, SCHEMA, Report, Row
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.exporters.format import choose as choose_formats
from edgeferry.models.artifact import MANIFEST, read_artifact
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.exports import set_by_config
from edgeferry.models.reference import Reference, changed_config_keys
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import content_sha256, read_record
from edgeferry.models.system.packages import versions_of
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import choose


@dataclass(frozen=True)
class Scope:
    """What a user asks to be checked: formats and targets by name, none for all; what has to pass; and a custom module to run."""

    formats: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    code: str | None = None


def checked(spec: ModelSpec | None, place: Path, asked: Scope, step: Step, *, reuse: bool) -> Report:
    """Return the report on a model's artifacts on the targets named, or on all that run by default.

    Results of the previous report that are not repeated stay, each with its date and whether it is still valid. ``spec`` is None
    where only the build folder is there, and so no config that could have changed. ``reuse`` takes rows of earlier runs whose
    artifact, target and code are the same; without it everything is run again.

    Raises:
        EdgeError: nothing was exported there, the config changed since, or what is required is no format or target.
    """
    refuse_unknown_scope(spec, asked)
    own = None if spec is None else set_by_config(spec)
    bench = open_bench(place, choose(asked.targets or None), step, reuse=reuse, tolerances=own)
    required = tuple(dict.fromkeys((*(spec.required if spec else ()), *asked.required)))
    named = frozenset((*asked.targets, *targets_in(required)))
    bench = replace(bench, formats=asked.formats, named_targets=named, code=asked.code)
    if spec is not None and not reuse:
        _refuse_changed(spec, bench.reference)
    return report_on(bench, run_all(bench), asked, required)


def report_on(bench: Bench, rows: Sequence[Row], asked: Scope, required: tuple[str, ...]) -> Report:
    """Return the report with these rows, and with those of the last report that they do not repeat."""
    place = bench.build
    rows = tuple(sorted((*rows, *earlier_rows(bench, _previous(place), rows)), key=lambda row: (row.format, row.target)))
    return Report(
        model=place.name,
        source_sha256=bench.reference.source_sha256,
        images=bench.reference.images,
        reference_accuracy=bench.reference.accuracy,
        rows=rows,
        machine=this_machine(),
        tool_versions=_tool_versions(place),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        targets=tuple(sorted(asked.targets)),
        formats=tuple(sorted(asked.formats)),
        labels=bench.reference.labels,
        required=required,
        unmet=tuple(unmet(rows, required)),
    )


def refuse_unknown_scope(spec: ModelSpec | None, asked: Scope) -> None:
    """Refuse formats, targets and requirements that do not exist, before anything is exported or run.

    Raises:
        EdgeError: names what is unknown, and what is close to it.
    """
    if asked.formats:
        # Looking up nothing would import every exporter.
        choose_formats(asked.formats)
    choose(asked.targets)
    check_required(asked.required, "--require")
    if spec is not None:
        check_required(spec.required, f"{spec.path}: parity.require")


def _previous(place: Path) -> Report | None:
    """Return the last report of this release, if there is one."""
    with suppress(EdgeError):
        return read_record(place / REPORT, SCHEMA, report_of, "a report", "make export-all")
    return None


def _refuse_changed(spec: ModelSpec, reference: Reference) -> None:
    """Refuse artifacts of another config: they would be compared with a reference that is out of date."""
    model_changed = spec.model.exists() and content_sha256(spec.model) != reference.source_sha256
    changed = (*(["model.file"] if model_changed else []), *changed_config_keys(spec, reference))
    if changed:
        raise EdgeError(
            "EF-config-changed", f"{spec.path}: {', '.join(changed)} changed since the export; run `make export-all` first."
        )


def this_machine() -> dict[str, str]:
    """Return what a report says of the machine that ran the check."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
    }


def _tool_versions(place: Path) -> dict[str, str]:
    """Return the versions of every tool that wrote the artifacts, from their manifests."""
    found = versions_of("edgeferry")
    for manifest in sorted(place.glob(f"*/{MANIFEST}")):
        # One that cannot be read is a failed row, which says so.
        with suppress(EdgeError):
            found |= read_artifact(manifest.parent).tool_versions
    return dict(sorted(found.items()))
