# SPDX-License-Identifier: Apache-2.0
"""How many planted faults the check catches in each format, and how many honest artifacts it fails, on several classifiers.

``EDGEFERRY_GATE`` names a folder that keeps everything between runs, ``EDGEFERRY_GATE_SECONDS`` is the time for each classifier,
``EDGEFERRY_GATE_APART`` how many images harm is measured on. ``EDGEFERRY_GATE_HONEST`` is how many honest artifacts to make: of
networks trained with other seeds and for fewer epochs, calibrated with other images, written with other options.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.own.gate import Judged, judged, plant_all, prepare
from edgeferry.benchmarks.own.gate_models import GRATINGS, HUES_MODEL, NUMERALS, GateModel, trained, trained_digits
from edgeferry.benchmarks.parity.judging.evidence import at_least, at_most
from edgeferry.benchmarks.selftest.fault import HONEST
from edgeferry.benchmarks.selftest.run import Plan, self_test
from edgeferry.benchmarks.selftest.trial import Trial
from edgeferry.exporters.export import export_all

FORMATS: Final = tuple(
    os.environ.get("EDGEFERRY_GATE_FORMATS", "tflite-float32,tflite-float16,tflite-dynamic,tflite-int8,onnx-float32").split(",")
)
SECONDS: Final = float(os.environ.get("EDGEFERRY_GATE_SECONDS", "1800"))
APART: Final = int(os.environ.get("EDGEFERRY_GATE_APART", "2000"))
HONEST_ARTIFACTS: Final = int(os.environ.get("EDGEFERRY_GATE_HONEST", "0"))
# Enough for every honest artifact of a network.
HONEST_SECONDS: Final = 3600.0
MODELS: Final[dict[str, GateModel | None]] = {"digits": None, "numerals": NUMERALS, "hues": HUES_MODEL, "gratings": GRATINGS}
# No limit was set with these.
FOR_VALIDATION: Final = ("gratings",)
LEAST_HARMFUL: Final = 0.97
LEAST_SUBTLE: Final = 0.80
LEAST_SUBTLE_INT8: Final = 0.70
LEAST_HARMFUL_BY_FEW: Final = 0.95
INTERVAL: Final = 0.975


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that holds classifiers, artifacts and results."""
    named = os.environ.get("EDGEFERRY_GATE")
    return Path(named).absolute() if named else tmp_path_factory.mktemp("gate")


def bench_faults_caught(benchmark: Any, place: Path) -> None:
    """The fraction of faults that is caught, by format, with its interval, on the classifiers that limits were set with."""
    names = [name for name in MODELS if name not in FOR_VALIDATION]
    found = benchmark.pedantic(lambda: [each for name in names for each in results(place, name)], rounds=1)
    show(found)
    hold(found)


def bench_faults_caught_on_another_kind_of_classifier(benchmark: Any, place: Path) -> None:
    """The same on a classifier that no limit was set with."""
    found = benchmark.pedantic(lambda: [each for name in FOR_VALIDATION for each in results(place, name)], rounds=1)
    show(found)
    hold(found)


@pytest.mark.skipif(not HONEST_ARTIFACTS, reason="EDGEFERRY_GATE_HONEST says how many honest artifacts to make")
def bench_honest_artifacts_pass(benchmark: Any, place: Path) -> None:
    """How many honest artifacts fail, of many networks, each exported in many ways."""
    found = benchmark.pedantic(lambda: honest_trials(place / "honest"), rounds=1)
    for form in sorted({each.format for each in found}):
        print(f"{form:18}{_failures([each for each in found if each.format == form])}")  # noqa: T201 - the benchmark's result
    print(f"{'all':18}{_failures(found)}")  # noqa: T201 - the benchmark's result
    for each in found:
        if each.outcome != "passed":
            print(f"{each.outcome}: {each.format}: {each.fault}: {each.reason}")  # noqa: T201 - the benchmark's result
    assert not any(each.is_caught for each in found)


def honest_trials(place: Path) -> list[Trial]:
    """Return honest artifacts as the check judged them, as many as are asked for; those that are kept are not made again."""
    found: list[Trial] = []
    kinds, seed = [kind for kind in MODELS.values() if kind is not None], 0
    while len(found) < HONEST_ARTIFACTS:
        seed += 1
        for kind in kinds:
            found += _honest(place, replace(kind, epochs=kind.epochs - seed % 3), seed)
    return found


def _honest(place: Path, kind: GateModel, seed: int) -> list[Trial]:
    """Return the honest artifacts of one network, trained with a seed of its own."""
    name = f"{kind.name}-{seed}"
    kept, build = place / f"{name}.jsonl", place / "build" / name
    if not kept.is_file():
        spec = trained(kind, place / name, seed).spec
        export_all(spec, build, FORMATS, lambda *_: None)
        made = self_test(spec, build, Plan(FORMATS, (HONEST,), HONEST_SECONDS), lambda *_: None)
        kept.write_text("".join(f"{json.dumps(asdict(trial))}\n" for trial in made.trials), encoding="utf-8")
    return [Trial(**json.loads(line)) for line in kept.read_text(encoding="utf-8").splitlines()]


def _failures(found: Sequence[Trial]) -> str:
    """Return how many failed, with the bound on the rate of all, one-sided at 95 %."""
    failed = sum(each.is_caught for each in found)
    return f"{failed} of {len(found)} honest artifacts failed: at most {at_most(failed, len(found)):.2%} of all do"


def results(place: Path, name: str) -> list[Judged]:
    """Return every trial on one classifier; those that are kept are not made again."""
    build, kept = place / "build" / name, place / "kept" / name
    if missing := tuple(form for form in FORMATS if not (kept / f"{form}.jsonl").is_file()):
        kind = MODELS[name]
        found = trained_digits(place / name) if kind is None else trained(kind, place / name)
        pixels, classes = found.apart
        laid = prepare(found.spec, build, FORMATS, (pixels[:APART], classes[:APART]))
        plant_all(found.spec, build, laid, kept, Plan(missing, seconds=SECONDS))
    return list(judged(kept, build))


def show(found: Sequence[Judged]) -> None:
    """Print a line for each format, and one for all."""
    forms = sorted({each.trial.format for each in found})
    for form in (*forms, "all"):
        ours = [each for each in found if form in {"all", each.trial.format}]
        cells = (
            f"{rate(_of(ours, 'harmful')):>30}{rate(_of(ours, 'harmful'), few=True):>28}{rate(_of(ours, 'subtle')):>28}"
            f"{len(_of(ours, 'none')):>12}{_short(_of(ours, 'elsewhere')):>12}{rate(_of(ours, 'honest')):>26}"
        )
        print(f"{form:18}{cells}")  # noqa: T201 - the benchmark's result
    for each in found:
        if each.trial.harm == "harmful" and not each.trial.is_caught:
            print(f"missed: {each.model} {each.trial.format}: {each.trial.fault}, {each.trial.changed:.1%} changed")  # noqa: T201 - the benchmark's result


def rate(found: Sequence[Judged], *, few: bool = False) -> str:
    """Return how many were caught, with Clopper and Pearson's 95 % interval: ``58/60 96.7 % [88.5, 99.6]``."""
    if not found:
        return "-"
    caught, count = _caught(found, few=few), len(found)
    low, high = at_least(caught, count, INTERVAL), at_most(caught, count, INTERVAL)
    return f"{caught}/{count} {caught / count:.1%} [{100 * low:.1f}, {100 * high:.1f}]"


def hold(found: Sequence[Judged]) -> None:
    """Hold the figures to their limits."""
    for form in {each.trial.format for each in found}:
        ours = [each for each in found if each.trial.format == form]
        assert _fraction(_of(ours, "harmful")) >= LEAST_HARMFUL, form
    assert _fraction(_of(found, "harmful"), few=True) >= LEAST_HARMFUL_BY_FEW
    assert _fraction(_of(found, "subtle")) >= LEAST_SUBTLE
    assert _fraction(_of([each for each in found if each.trial.format.endswith("-int8")], "subtle")) >= LEAST_SUBTLE_INT8
    assert _fraction(_of(found, "elsewhere")) == 1
    assert not any(each.trial.is_caught for each in _of(found, "honest"))


def _of(found: Iterable[Judged], harm: str) -> list[Judged]:
    return [each for each in found if each.trial.harm == harm]


def _short(found: Sequence[Judged]) -> str:
    return f"{_caught(found, few=False)}/{len(found)}"


def _caught(found: Sequence[Judged], *, few: bool) -> int:
    return sum(each.is_caught_by_few if few else each.trial.is_caught for each in found)


def _fraction(found: Sequence[Judged], *, few: bool = False) -> float:
    return _caught(found, few=few) / len(found) if found else 1.0
