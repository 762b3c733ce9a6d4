# SPDX-License-Identifier: Apache-2.0
"""A plan, one file that all shards and the merge read: the models to check, what runs where, and which shard does which part."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.check import Scope
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest, read_record, write_whole

# History: 1, the first. Its JSON Schema is plan.schema.json.
SCHEMA: Final = 1
PLAN: Final = "plan.json"
WRITER: Final = "edgeferry plan"


@dataclass(frozen=True)
class FleetJob:
    """A part of an artifact's images on a target: from image ``first`` to before ``last``, of ``images`` in all.

    ``key`` is the digest of everything that the result of all images follows from. ``shard`` is the number of the one that does
    it, from 1.
    """

    key: str
    format: str
    target: str
    first: int
    last: int
    images: int
    shard: int

    @property
    def id(self) -> str:
        """Return the name of its result: the digest of what it follows from, and of its images."""
        return digest([self.key, self.first, self.last])

    @property
    def part(self) -> tuple[int, int] | None:
        """Return its images, None for all."""
        return None if self.last - self.first == self.images else (self.first, self.last)


@dataclass(frozen=True)
class PlannedModel:
    """A model, and its jobs.

    ``path`` is its build folder, or the bundle that holds it, seen from the plan's folder. ``tolerances`` are those of its
    config, None where no config was named and those of the export count; ``required`` is what the config requires to pass.
    """

    name: str
    path: str
    tolerances: dict[str, dict[str, float]] | None
    required: tuple[str, ...]
    jobs: tuple[FleetJob, ...]


@dataclass(frozen=True)
class PlannedTarget:
    """A target where the plan was made: the versions that results depend on, and one digest of these and of edgeferry's code.

    ``missing`` says why it cannot run there. Where it was named all the same, its jobs run where it can, and whatever version
    is there counts: ``follows_from`` is empty.
    """

    versions: dict[str, str]
    follows_from: str
    missing: str | None


@dataclass(frozen=True)
class Plan:
    """What to check, in how many shards; ``formats`` and ``named`` are the formats and targets asked for, empty for all."""

    shards: int
    formats: tuple[str, ...]
    named: tuple[str, ...]
    targets: dict[str, PlannedTarget]
    models: tuple[PlannedModel, ...]

    def jobs(self) -> Iterator[tuple[PlannedModel, FleetJob]]:
        """Yield every job with its model."""
        yield from ((model, job) for model in self.models for job in model.jobs)

    def scope(self, model: PlannedModel) -> Scope:
        """Return what was asked of a model, as `edgeferry check` takes it."""
        return Scope(self.formats, self.named, model.required)


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan, a line for each model.

    Raises:
        EdgeError: the file cannot be written.
    """
    targets = {name: vars(target) for name, target in plan.targets.items()}
    head = json.dumps({"schema": SCHEMA, **vars(plan), "targets": targets, "models": None}, ensure_ascii=False)
    lines = (json.dumps({**vars(model), "jobs": [vars(job) for job in model.jobs]}, ensure_ascii=False) for model in plan.models)
    models = ",\n".join(lines)
    write_whole(path, f"{head.removesuffix('null}')}[\n{models}\n]}}\n")


def read_plan(path: Path) -> Plan:
    """Return the plan that a file holds.

    Raises:
        EdgeError: the file is missing, damaged, or of another release.
    """
    return read_record(path, SCHEMA, _plan_of, "a plan", WRITER)


def _plan_of(fields: Mapping[str, Any]) -> Plan:
    plan = Plan(
        shards=int(fields["shards"]),
        formats=tuple(map(str, fields["formats"])),
        named=tuple(map(str, fields["named"])),
        targets={str(name): PlannedTarget(**each) for name, each in fields["targets"].items()},
        models=tuple(_model_of(each) for each in fields["models"]),
    )
    for _, job in plan.jobs():
        if not 0 <= job.first < job.last <= job.images or not 1 <= job.shard <= plan.shards or job.target not in plan.targets:
            raise ValueError(f"the job {job.format} on {job.target} is none of this plan")
    return plan


def _model_of(fields: Mapping[str, Any]) -> PlannedModel:
    jobs = tuple(FleetJob(**job) for job in fields["jobs"])
    return PlannedModel(**{**fields, "jobs": jobs, "required": tuple(map(str, fields["required"]))})


def shard_of(text: str, plan: Plan) -> int:
    """Return the number of a shard that is named '7/40'.

    Raises:
        EdgeError: it is no shard, or not one of this plan.
    """
    number, _, total = text.partition("/")
    if number.isdecimal() and total.isdecimal() and int(total) == plan.shards and 1 <= int(number) <= plan.shards:
        return int(number)
    raise EdgeError(
        "EF-fleet-shard", f"--shard {text!r}: expected one of 1/{plan.shards} to {plan.shards}/{plan.shards}, as planned."
    )
