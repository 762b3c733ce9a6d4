# SPDX-License-Identifier: Apache-2.0
"""What is to be measured: every artifact asked for, on every target that reads it, on so many threads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeferry.benchmarks.latency.records import Case, case_name
from edgeferry.benchmarks.parity.run import sound
from edgeferry.models.artifact import MANIFEST, Artifact
from edgeferry.models.reference import REFERENCE, Reference, read_reference
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Target

# What copies are compared with where nothing else is named: the original, as one compiled function.
ORIGINAL = ("keras", "keras")


@dataclass(frozen=True)
class Asked:
    """What is to be measured: artifacts by format (none is all), targets, and [format, target] of what is compared with."""

    build: Path
    formats: tuple[str, ...]
    targets: tuple[Target, ...]
    baseline: tuple[str, str] | None = None

    def reference(self) -> Reference:
        """Return what the artifacts are held to.

        Raises:
            EdgeError: nothing was exported there.
        """
        reference = read_reference(self.build / REFERENCE)
        if reference is None:
            raise EdgeError(f"{self.build} holds no reference; export the model first with `make export-all`.")
        return reference


@dataclass(frozen=True)
class Entry:
    """One case to be measured: an artifact, a target, a number of threads."""

    artifact: Artifact
    target: Target
    threads: int

    @property
    def name(self) -> str:
        """Return what it is called in messages and logs."""
        return case_name(self.artifact.format, self.target.name, self.threads)

    def blank(self) -> Case:
        """Return its case before anything was measured."""
        return Case(
            self.artifact.format,
            self.target.name,
            "not run",
            "",
            in_turns=self.target.open is not None,
            threads=self.threads,
            artifact_sha256=self.artifact.sha256,
            bytes=self.artifact.bytes,
        )


def entries_of(asked: Asked, threads: Sequence[int] = (1,)) -> Iterator[Entry]:
    """Yield what there is to measure, by format and target.

    Raises:
        EdgeError: nothing was exported there, or an artifact is stale, damaged, or not there though it was named.
    """
    reference = asked.reference()
    for name in asked.formats or sorted(path.parent.name for path in asked.build.glob(f"*/{MANIFEST}")):
        artifact, problem = sound(asked.build, reference, name)
        if artifact is None or problem:
            raise EdgeError(f"{asked.build / name}: {problem}")
        for target in asked.targets:
            if target.takes(artifact) and target.name != "null":
                yield from (Entry(artifact, target, count) for count in threads)


def baseline_named(named: str | None) -> tuple[str, str] | None:
    """Return [format, target] from FORMAT@TARGET.

    Raises:
        EdgeError: it is not of that form.
    """
    if named is None:
        return None
    form, _, target = named.partition("@")
    if not form or not target:
        raise EdgeError(f"the baseline {named!r} is not of the form FORMAT@TARGET, as in keras@keras.")
    return form, target


def baseline_of(named: tuple[str, str] | None, here: Sequence[Entry]) -> Entry | None:
    """Return what the others are compared with: what was named, else the original, else the first that is asked in turns.

    Raises:
        EdgeError: what was named is not measured here in turns.
    """
    in_turns = [entry for entry in here if entry.target.open]
    wanted = [entry for entry in in_turns if (entry.artifact.format, entry.target.name) == (named or ORIGINAL)]
    if named and not wanted:
        there = ", ".join(f"{entry.artifact.format}@{entry.target.name}" for entry in in_turns)
        raise EdgeError(f"the baseline {'@'.join(named)} is not timed in turns here; there are {there or 'none'}.")
    return next(iter([*wanted, *in_turns]), None)
