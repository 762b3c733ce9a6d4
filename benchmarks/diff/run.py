# SPDX-License-Identifier: Apache-2.0
"""Two builds compared: the artifacts of both are run on the same golden images, one after the other, by the same runtime."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgeferry.benchmarks.diff.answers import Known, decided
from edgeferry.benchmarks.diff.changes import changes_between
from edgeferry.benchmarks.diff.pair import PairRunner
from edgeferry.benchmarks.diff.result import BuildDiff, ResultDiff
from edgeferry.benchmarks.parity.judging.expected import read_expected
from edgeferry.benchmarks.parity.rows import NO_TARGET
from edgeferry.models.artifact import Artifact, read_artifact, what_changed
from edgeferry.models.exports import Exports, read_exports
from edgeferry.models.reference import PIXELS, REFERENCE, Reference, read_reference
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Target


@dataclass(frozen=True)
class Side:
    """One of the two builds."""

    place: Path
    reference: Reference
    exports: Exports

    def formats(self) -> set[str]:
        """Return the formats that were exported."""
        return {each.format for each in self.exports.formats if each.state in {"written", "kept"}}

    def artifact(self, form: str) -> Artifact:
        """Return an artifact whose files are those of its manifest.

        Raises:
            EdgeError: they are not.
        """
        found = read_artifact(self.place / form)
        if changed := what_changed(found, self.place / form):
            raise EdgeError("EF-artifact-changed", f"{self.place / form}: {changed}; run `make export-all`")
        return found


def diff(old: Path, new: Path, formats: Sequence[str], targets: Sequence[Target], step: Step) -> BuildDiff:
    """Return how a build differs from an older one, on the golden images of the new one; ``formats`` empty are all.

    Raises:
        EdgeError: a folder is no build, or the two cannot be compared: other labels, or inputs of another size.
    """
    before, after = _side(old), _side(new)
    _refuse_incomparable(before, after)
    both = sorted(before.formats() & after.formats())
    both = [name for name in both if not formats or name in formats]
    pairs = [(name, pair) for name in both if (pair := _pair(before, after, name)) is not None]
    found = [*_unreadable(before, after, both, pairs), *_no_longer_exported(before, after, formats)]
    found += _compared(before, after, pairs, targets, step)
    return BuildDiff(
        old=str(before.place),
        new=str(after.place),
        same_model=before.reference.source_sha256 == after.reference.source_sha256,
        same_golden_images=before.reference.files.get(PIXELS) == after.reference.files.get(PIXELS),
        images=after.reference.images,
        labels=after.reference.labels,
        results=tuple(sorted(decided(found), key=lambda each: (each.format, each.target))),
        changes=tuple(change for _, pair in pairs for change in changes_between(*pair)),
        only_old=tuple(sorted(before.formats() - after.formats())),
        only_new=tuple(sorted(after.formats() - before.formats())),
    )


def _side(place: Path) -> Side:
    reference = read_reference(place / REFERENCE)
    if reference is None:
        raise EdgeError("EF-reference-missing", f"{place} holds no reference; export the model first with `make export-all`.")
    return Side(place, reference, read_exports(place))


def _refuse_incomparable(old: Side, new: Side) -> None:
    was, now = old.reference.preprocessing, new.reference.preprocessing
    sides = {
        "labels": (old.reference.labels, new.reference.labels),
        "input": ((was.height, was.width, was.colour), (now.height, now.width, now.colour)),
    }
    for what, (before, after) in sides.items():
        if before != after:
            shown = f"{', '.join(map(str, before[:4]))} ... and {', '.join(map(str, after[:4]))} ..."
            raise EdgeError(
                "EF-diff-incomparable",
                f"{old.place} and {new.place} have another {what} ({shown}); expected two builds of one classifier.",
            )


def _pair(old: Side, new: Side, form: str) -> tuple[Artifact, Artifact] | None:
    with suppress(EdgeError):
        return old.artifact(form), new.artifact(form)
    return None


def _unreadable(old: Side, new: Side, both: Sequence[str], pairs: Sequence[tuple[str, object]]) -> Iterator[ResultDiff]:
    """Yield a result for each artifact that is damaged in one of the builds."""
    for form in sorted(set(both) - {name for name, _ in pairs}):
        try:
            old.artifact(form), new.artifact(form)
        except EdgeError as error:
            yield ResultDiff(form, NO_TARGET, "not compared", str(error))


def _no_longer_exported(old: Side, new: Side, formats: Sequence[str]) -> Iterator[ResultDiff]:
    for each in new.exports.formats:
        if each.state == "failed" and each.format in old.formats() and (not formats or each.format in formats):
            yield ResultDiff(each.format, NO_TARGET, "worse", f"it was exported before, and is no longer: {each.reason}")


def _compared(
    old: Side, new: Side, pairs: Sequence[tuple[str, tuple[Artifact, Artifact]]], targets: Sequence[Target], step: Step
) -> Iterator[ResultDiff]:
    """Yield a result for every pair of artifacts on every target, by target; the same files are not run."""
    for form, (was, now) in pairs:
        if was.sha256 == now.sha256:
            yield ResultDiff(form, NO_TARGET, "same", "the same file", old_bytes=was.bytes, new_bytes=now.bytes)
    apart = [(form, pair) for form, pair in pairs if pair[0].sha256 != pair[1].sha256]
    wanted = [
        (target, form, pair) for target in targets for form, pair in apart if target.takes(pair[0]) and target.takes(pair[1])
    ]
    for form in sorted({form for form, _ in apart} - {form for _, form, _ in wanted}):
        yield ResultDiff(form, NO_TARGET, "not compared", "no requested target reads it")
    known = _right(old, new)
    work = Path(tempfile.mkdtemp(prefix="edgeferry-diff-"))
    for target in dict.fromkeys(target for target, _, _ in wanted):
        with Child() as child:
            runner = PairRunner(child, new.place / REFERENCE / PIXELS, work, target)
            for number, (on, form, pair) in enumerate(wanted, 1):
                if on is not target:
                    continue
                step(f"comparing {form} on {target.name}", number, len(wanted))
                result = runner.compared(form, (old.place, new.place), pair, known)
                yield replace(result, old_bytes=pair[0].bytes, new_bytes=pair[1].bytes)
    # Not empty where a reason names a log.
    with suppress(OSError):
        work.rmdir()


def _right(old: Side, new: Side) -> Known:
    """Return the right answer to each golden image of the new build, and what it is known by."""
    decision = new.reference.decision
    expected = read_expected(new.place / REFERENCE, new.reference.labels, decision)
    if expected.is_labelled:
        return Known(expected.classes, "labels", decision)
    is_same = old.reference.source_sha256 == new.reference.source_sha256
    return Known(decision.classes(expected.probabilities[: expected.golden]), "Keras model" if is_same else None, decision)
