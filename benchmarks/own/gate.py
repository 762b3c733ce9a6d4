# SPDX-License-Identifier: Apache-2.0
"""Faults planted in one classifier's artifacts, with all that is needed to judge them again under other limits kept in files.

Below a folder, for each classifier: ``reference.npz`` and for each format ``<format>.npz`` with an entry per trial, in the order
of ``<format>.jsonl``. docs/parity.md says what is measured with them.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from edgeferry.benchmarks.parity.judging.expected import Expected
from edgeferry.benchmarks.parity.judging.verdict import judge
from edgeferry.benchmarks.selftest.run import Plan, self_test
from edgeferry.benchmarks.selftest.trial import Trial, answers_of, harm_of
from edgeferry.exporters.export import export_all
from edgeferry.models.artifact import MANIFEST, Artifact, read_artifact
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.reference import (
    CALIBRATION,
    LABELS,
    PROBE_SCORES,
    PROBES,
    REFERENCE,
    SCORES,
    read_reference,
)
from edgeferry.models.yardstick import read_yardstick

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The small golden set, drawn from the large one.
FEW_GOLDEN: Final = 30
FLUSH: Final = 20


@dataclass(frozen=True)
class Laid:
    """Where the images of every trial are: golden ones, probes, the probes of the small golden set, those apart."""

    golden: slice
    probes: slice
    few_probes: slice
    apart: slice
    few: "NDArray[np.int64]"
    few_reference: Path
    images: "NDArray[np.uint8]"
    classes: "NDArray[np.int64]"


def prepare(spec: ModelSpec, build: Path, formats: tuple[str, ...], apart: "tuple[NDArray[Any], NDArray[Any]]") -> Laid:
    """Export a classifier, and return where its images are."""
    export_all(spec, build, formats, lambda *_: None)
    few, few_reference = _few_reference(spec, build, formats)
    golden, probes = len(np.load(build / REFERENCE / LABELS)), len(np.load(build / REFERENCE / PROBES, mmap_mode="r"))
    few_probes = np.load(few_reference / PROBES)
    first = golden + probes + len(np.load(build / REFERENCE / CALIBRATION, mmap_mode="r"))
    second = first + len(few_probes)
    return Laid(
        slice(golden),
        slice(golden, golden + probes),
        slice(first, second),
        slice(second, second + len(apart[0])),
        few,
        few_reference,
        np.concatenate([few_probes, apart[0]]),
        np.concatenate([np.full(len(few_probes), -1), apart[1]]),
    )


def _few_reference(spec: ModelSpec, build: Path, formats: tuple[str, ...]) -> "tuple[NDArray[np.int64], Path]":
    """Return which golden images are in the small set, some of every class first, and the folder of its reference.

    It is exported too, for what its precisions should differ by.
    """
    pixels, labels = np.load(build / REFERENCE / "pixels.npy"), np.load(build / REFERENCE / LABELS)
    rank = np.zeros(len(labels), np.int64)
    for each in np.unique(labels):
        rank[labels == each] = np.arange((labels == each).sum())
    few = np.argsort(rank, kind="stable")[:FEW_GOLDEN]
    golden, place = spec.model.parent / "few.npz", build.with_name(f"{build.name}-few")
    # Files are in red, green and blue whatever the config's order.
    shown = pixels[few][..., ::-1] if spec.preprocessing.colour == "bgr" else pixels[few]
    np.savez(golden, images=shown, labels=np.array(spec.labels)[labels[few]])
    export_all(replace(spec, golden=golden, name=place.name), place, formats, lambda *_: None)
    return few, place / REFERENCE


@dataclass
class Cache:
    """What is kept of one classifier's trials, written to its folder as they are made."""

    folder: Path
    laid: Laid
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    scores: dict[str, list["NDArray[np.float32] | None"]] = field(default_factory=dict)

    def keep(self, trial: Trial, scores: "NDArray[np.float32] | None") -> None:
        """Keep one trial."""
        self.trials.setdefault(trial.format, []).append(trial)
        self.scores.setdefault(trial.format, []).append(scores)
        if sum(map(len, self.trials.values())) % FLUSH == 0:
            self.write()

    def write(self) -> None:
        """Write all that was kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, trials in self.trials.items():
            lines = [json.dumps(asdict(trial)) for trial in trials]
            (self.folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
            np.savez(self.folder / f"{name}.npz", **cast("Any", self._arrays(self.scores[name])))

    def _arrays(self, found: list["NDArray[np.float32] | None"]) -> "dict[str, NDArray[Any]]":
        blank = np.full_like(next(each for each in found if each is not None), np.nan)
        stacked = np.stack([blank if each is None else each for each in found])
        laid = self.laid
        parts = {"golden": laid.golden, "probes": laid.probes, "few_probes": laid.few_probes}
        arrays = {name: stacked[:, part] for name, part in parts.items()}
        return arrays | {
            "apart": np.where(np.isnan(stacked[:, laid.apart, 0]), -1, stacked[:, laid.apart].argmax(axis=2)).astype("int16")
        }

    def write_reference(self, build: Path, spec: ModelSpec) -> None:
        """Write what the trials are judged against."""
        self.folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            self.folder / "reference.npz",
            golden=np.load(build / REFERENCE / SCORES),
            classes=np.load(build / REFERENCE / LABELS),
            probes=np.load(build / REFERENCE / PROBE_SCORES),
            few=self.laid.few,
            few_probes=np.load(self.laid.few_reference / PROBE_SCORES),
            apart_classes=self.laid.classes[len(self.laid.classes) - (self.laid.apart.stop - self.laid.apart.start) :],
            labels=np.array(spec.labels),
            **cast("Any", {f"simulated.{form}": each for form, each in _simulated(build)}),
            **cast("Any", {f"few_simulated.{form}": each for form, each in _simulated(self.laid.few_reference.parent)}),
        )


def _simulated(build: Path) -> "Iterator[tuple[str, NDArray[np.float32]]]":
    """Yield what each format's precision should give for the golden images and then the probes, where it is known."""
    reference = read_reference(build / REFERENCE)
    for manifest in sorted(build.glob(f"*/{MANIFEST}")):
        form, precision = manifest.parent.name, read_artifact(manifest.parent).precision
        if reference is not None and precision and (found := read_yardstick(build, precision, reference)) is not None:
            yield form, found


@dataclass(frozen=True)
class Judged:
    """A trial with its harm on the images apart, and whether it is caught with the small golden set."""

    model: str
    trial: Trial
    is_caught_by_few: bool


def plant_all(spec: ModelSpec, build: Path, laid: Laid, folder: Path, plan: Plan) -> None:
    """Plant all faults in a classifier's artifacts, and keep what is found in a folder."""
    cache = Cache(folder, laid)
    cache.write_reference(build, spec)
    for name in plan.formats:
        (folder / f"{name}.manifest.json").write_text((build / name / "manifest.json").read_text(encoding="utf-8"))
    try:
        self_test(spec, build, replace(plan, more=(laid.images, laid.classes), keep=cache.keep), _show)
    finally:
        cache.write()


def _show(text: str, number: int = 0, total: int = 0) -> None:
    print(f"  [{number}/{total}] {text}", flush=True)  # noqa: T201 - a script's progress


def judged(folder: Path, build: Path) -> Iterator[Judged]:
    """Yield every trial that a folder holds."""
    reference = np.load(folder / "reference.npz")
    for path in sorted(folder.glob("*.jsonl")):
        trials = [Trial(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        arrays, artifact = dict(np.load(path.with_suffix(".npz"))), read_artifact(build / path.stem)
        again = next((at for at, trial in enumerate(trials) if trial.harm == "honest"), None)
        if again is None:
            continue
        honest = _answers(arrays["apart"][again], reference["apart_classes"])
        for at, trial in enumerate(trials):
            found = trial
            runs = not np.isnan(arrays["golden"][at]).any()
            if trial.harm not in {"elsewhere", "honest"}:
                answers = _answers(arrays["apart"][at], reference["apart_classes"]) if runs else None
                harm, changed, lost = harm_of(answers, honest)
                found = replace(trial, harm=harm, changed=changed, lost=lost)
            caught = _caught_by_few(reference, arrays, at, artifact, trial) if runs else trial.is_caught
            yield Judged(folder.name, found, caught)


def _caught_by_few(reference: Any, arrays: dict[str, Any], at: int, artifact: Artifact, trial: Trial) -> bool:
    """Return whether a trial fails with the small golden set; what fails for another reason than its scores fails with it too."""
    many = np.concatenate([arrays["golden"][at], arrays["probes"][at]])
    if trial.is_caught and judge(many, None, artifact, expected_of(reference, artifact.format)).outcome != "failed":
        return True
    few = np.concatenate([arrays["golden"][at][reference["few"]], arrays["few_probes"][at]])
    return judge(few, None, artifact, expected_of(reference, artifact.format, few=True)).outcome == "failed"


def expected_of(reference: Any, form: str, *, few: bool = False) -> Expected:
    """Return what a format is compared with, from what ``reference.npz`` holds, or the same with the small golden set."""
    labels, simulated = tuple(map(str, reference["labels"])), f"{'few_' if few else ''}simulated.{form}"
    chosen, probes = (reference["few"], "few_probes") if few else (slice(None), "probes")
    return Expected(
        np.concatenate([reference["golden"][chosen], reference[probes]]),
        reference["classes"][chosen],
        labels,
        reference.get(simulated, None),
    )


def _answers(classes: "NDArray[Any]", labels: "NDArray[Any]") -> Any:
    return answers_of(np.eye(int(max(classes.max(), labels.max())) + 1, dtype=np.float32)[classes], labels)
