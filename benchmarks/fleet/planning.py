# SPDX-License-Identifier: Apache-2.0
"""How a plan is made: what has to run of each model. A model that did not change since the last plan is not read again."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.fleet.plan import FleetJob, Plan, PlannedModel, PlannedTarget
from edgeferry.benchmarks.fleet.shares import Work, shared_out
from edgeferry.benchmarks.parity.bench import exported, key_of, open_bench, target_digest
from edgeferry.benchmarks.parity.results import RUNS
from edgeferry.exporters.format import formats
from edgeferry.exporters.weights.constants import WEIGHTS
from edgeferry.models.artifact import EXPORTS, Artifact
from edgeferry.models.bundle.archive import is_archive
from edgeferry.models.bundle.content import required_in
from edgeferry.models.exports import set_by_config
from edgeferry.models.reference import PROBE_SCORES, REFERENCE
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.files import digest, write_whole
from edgeferry.targets.target import Target, choose
from edgeferry.targets.target import targets as registry

if TYPE_CHECKING:
    from edgeferry.models.config.spec import ModelSpec

# History: 1, the first.
INDEX_SCHEMA: Final = 1
THIS: Final = "edgeferry.benchmarks.fleet.planning"
# Folders of a build that no result follows from.
NOT_PLANNED: Final = frozenset({RUNS, WEIGHTS})

# Returns the config of a model that a user names, None where there is none, and its build folder.
Find = Callable[[str], "tuple[ModelSpec | None, Path]"]


@dataclass(frozen=True)
class Asked:
    """What a plan is asked for: formats and targets by name, empty for all, and the number of shards."""

    formats: tuple[str, ...]
    targets: tuple[str, ...]
    shards: int


def plan(sources: Sequence[str], asked: Asked, find: Find, path: Path) -> Plan:
    """Return the plan of some models, each named by its config, build folder or bundle, that will be written to ``path``.

    Raises:
        EdgeError: a model cannot be found or was not exported, or a format or target does not exist.
    """
    chosen = choose(asked.targets or None)
    known = {target.name: target for target in chosen}
    planned = dict(_planned_targets(chosen))
    code, facts = CodeDigests().of(THIS), {name: vars(target) for name, target in planned.items()}
    general = digest([asked.formats, asked.targets, code, facts, _tolerances()])
    index = _Index(path, general)
    entries = [index.entry(source, lambda source: _entry(source, find, asked, planned, path.parent)) for source in sources]
    index.save()
    work = [
        Work(at, FleetJob(**each["job"]), each["weight"], known[target].splits, _group(at, each, known[target]))
        for at, entry in enumerate(entries)
        for each in entry["work"]
        if (target := each["job"]["target"])
    ]
    jobs: dict[int, list[FleetJob]] = {}
    for each in sorted(shared_out(work, asked.shards), key=lambda each: (each.job.format, each.job.target, each.job.first)):
        jobs.setdefault(each.model, []).append(each.job)
    models = tuple(
        PlannedModel(**{**entry["model"], "required": tuple(entry["model"]["required"]), "jobs": tuple(jobs.get(at, ()))})
        for at, entry in enumerate(entries)
    )
    return Plan(asked.shards, asked.formats, asked.targets, planned, models)


def _group(model: int, work: Mapping[str, Any], target: Target) -> str:
    return f"{model}/{target.name}" + (f"/{work['job']['format']}" if target.side_by_side else "")


def _planned_targets(chosen: Sequence[Target]) -> Iterator[tuple[str, PlannedTarget]]:
    code = CodeDigests()
    for target in chosen:
        missing = target.missing()
        versions = {} if missing else dict(target.versions())
        yield target.name, PlannedTarget(versions, "" if missing else target_digest(target, code), missing)


def _tolerances() -> dict[str, Any]:
    return {name: asdict(form.tolerance) for name, form in formats().items()}


def _entry(source: str, find: Find, asked: Asked, targets: Mapping[str, PlannedTarget], folder: Path) -> dict[str, Any]:
    """Return what a plan says of a model, before it is shared out, as JSON holds it."""
    spec, place = find(source)
    own = None if spec is None else set_by_config(spec)
    bench = replace(open_bench(place, (), lambda *_: None, reuse=True, tolerances=own), formats=asked.formats)
    named = Path(source).expanduser()
    is_bundle = spec is None and is_archive(named.absolute())
    path = os.path.relpath(named.resolve() if is_bundle else place.resolve(), folder.resolve())
    required = spec.required if spec is not None else required_in(place) if is_bundle else ()
    images = bench.reference.images + _probes(place)
    found = [exported(bench, each) for each in bench.exports.formats if not asked.formats or each.format in asked.formats]
    bench.digests.save()
    work = []
    for artifact in sorted((each for each in found if isinstance(each, Artifact)), key=lambda each: each.format):
        for name, target in targets.items():
            if (target.missing and name not in asked.targets) or not registry()[name].takes(artifact):
                continue
            key = key_of(bench, registry()[name], artifact, target.follows_from)
            job = FleetJob(key, artifact.format, name, 0, images, images, 1)
            work.append({"job": vars(job), "weight": _weight(artifact)})
    model = {"name": place.name, "path": path, "tolerances": own, "required": list(required)}
    return {"model": model, "place": str(place), "work": work}


def _weight(artifact: Artifact) -> float:
    """Return how much an image costs: its pixels, since convolutions take most of the time and their number is that of pixels."""
    return float(artifact.preprocessing.height * artifact.preprocessing.width)


def _probes(place: Path) -> int:
    from numpy.lib import format as npy

    # Only the header: numpy.load takes ten times as long, and there may be thousands of models.
    with (place / REFERENCE / PROBE_SCORES).open("rb") as file:
        npy.read_magic(file)
        return int(npy.read_array_header_1_0(file)[0][0])


class _Index:
    """What plans said of models, next to the size and time of every file that this follows from."""

    def __init__(self, path: Path, general: str) -> None:
        """Read the index of a plan's file; ``general`` is the digest of what plans of all models follow from."""
        self._path, self._general = path.with_name(f".{path.name}.index"), general
        self._known: dict[str, Any] = {}
        self._entries: dict[str, Any] = {}
        with suppress(OSError, ValueError, AttributeError, KeyError):
            data = json.loads(self._path.read_text(encoding="utf-8"))
            if data["schema"] == INDEX_SCHEMA and data["general"] == general:
                self._known = dict(data["entries"])

    def entry(self, source: str, made: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        """Return what is known of a model, made now where anything of it changed."""
        name = str(Path(source).expanduser().absolute())
        known = self._known.get(name)
        if known is None or known["files"] != _files(name, known["entry"]["place"]):
            entry = made(source)
            known = {"files": _files(name, entry["place"]), "entry": entry}
        self._entries[name] = known
        found: dict[str, Any] = known["entry"]
        return found

    def save(self) -> None:
        """Write what is known; a place that refuses costs time on the next plan and nothing else."""
        if self._entries == self._known:
            return
        with suppress(OSError):
            data = {"schema": INDEX_SCHEMA, "general": self._general, "entries": self._entries}
            write_whole(self._path, json.dumps(data, ensure_ascii=False))


def _files(source: str, place: str) -> str:
    """Return one digest of size, time and inode of the files that a plan of a model follows from: no byte of them is read."""
    try:
        with os.scandir(place) as entries:
            folders = [each.path for each in entries if each.name[0] != "." and each.name not in NOT_PLANNED and each.is_dir()]
    except OSError:
        return ""
    below = [facts for folder in folders for facts in _facts_below(folder)]
    single = [path for path in (Path(source), Path(place, EXPORTS)) if path.is_file()]
    return digest([*(_facts(str(path), path.stat()) for path in single), *sorted(below)])


def _facts_below(folder: str) -> Iterator[list[Any]]:
    # A plan of 1,000 models looks at 40,000 files: os.walk and Path.stat take three times as long.
    with os.scandir(folder) as entries:
        for each in entries:
            if each.is_dir():
                yield from _facts_below(each.path)
            else:
                yield _facts(each.path, each.stat())


def _facts(path: str, found: os.stat_result) -> list[Any]:
    return [path, found.st_size, found.st_mtime_ns, found.st_ino]
