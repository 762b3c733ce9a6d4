# SPDX-License-Identifier: Apache-2.0
"""What holds for every target of the registry."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import edgeferry.targets
from edgeferry.exporters.format import formats
from edgeferry.models.artifact import read_artifact
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.models.system.registry import records_in
from edgeferry.targets.target import Run, Target, choose, integer_target, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# How much of the largest difference that its tolerance allows this small classifier uses, by whether all classes must agree.
USED: Final = {True: 0.1, False: 0.37}
UNJUDGED: Final = {name for name, target in targets().items() if not target.judged}


def _formats_of(target: Target) -> Iterator[str]:
    """Yield, of each kind that a target reads, the format with the strictest and the one with the loosest tolerance."""
    written = [form for form in formats().values() if form.by_default and form.missing() is None]
    read = [form for form in written if target.reads is not None and target.reads & {form.kind, form.name}]
    for kind in sorted({form.kind for form in read}):
        of_kind = sorted((form for form in read if form.kind == kind), key=lambda form: form.tolerance.p99_difference)
        yield from dict.fromkeys((of_kind[0].name, of_kind[-1].name))


RUNS: Final = [
    # What a run downloads may not be reachable: tests/targets/endpoint builds a container's image where it can.
    (name, form)
    for name, target in targets().items()
    if target.judged and not target.downloads
    for form in _formats_of(target)
]
# By module: both tests of a run come one after the other, so that no two workers make it.
EACH_RUN: Final = pytest.mark.parametrize(("name", "form"), RUNS, scope="module")
FRAMEWORKS: Final = (
    "numpy",
    "tensorflow",
    "keras",
    "onnxruntime",
    "ai_edge_litert",
    "playwright",
    "coremltools",
    "PIL",
    "starlette",
    "uvicorn",
    "urllib3",
)
LIST_ALL: Final = f"""
import sys
from edgeferry.targets.target import targets
for target in targets().values():
    target.missing(), target.versions()
print(*sorted(set({FRAMEWORKS!r}) & set(sys.modules)))
"""


def test_listing_targets_and_what_is_missing_imports_no_framework() -> None:
    done = subprocess.run([sys.executable, "-c", LIST_ALL], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_two_targets_have_one_name() -> None:
    names = [target.name for _, target in records_in(edgeferry.targets, "TARGETS")]
    assert sorted(names) == list(targets())


@pytest.mark.parametrize("name", targets())
def test_a_name_is_lower_case_words(name: str) -> None:
    assert name == name.lower()
    assert name.replace("-", "").replace(".", "").isalnum()


@pytest.mark.parametrize("name", targets())
def test_what_is_missing_is_reported_with_what_installs_it(name: str) -> None:
    why = targets()[name].missing()
    assert why is None or (("install" in why or "make setup" in why) and not why.endswith("."))


def _nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("edgeferry.models.system.environments.ROOT", tmp_path)
    monkeypatch.setattr("edgeferry.targets.arm.environments.FOLDER", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("edgeferry.targets.host.installed.find_spec", lambda _: None)


def test_where_nothing_is_installed_all_but_the_null_target_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _nothing_installed(tmp_path, monkeypatch)
    assert {name for name, target in targets().items() if target.missing() is None} == UNJUDGED == {"null"}


def test_an_installed_wheel_never_advises_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _nothing_installed(tmp_path, monkeypatch)
    monkeypatch.setattr("edgeferry.targets.host.installed.ROOT", tmp_path)
    missing = {name: target.missing() for name, target in targets().items() if target.judged}
    assert {name: why for name, why in missing.items() if why is None or "make " in why or "install" not in why} == {}
    assert "`pip install 'edgeferry[check]'`" in str(missing["litert"])
    assert "EDGEFERRY_TFLITE_2_14_PYTHON" in str(missing["tflite-runtime"])


def test_the_null_target_reads_every_artifact(build: Path) -> None:
    null = targets()["null"]
    assert null.reads is None
    assert all(null.takes(read_artifact(path.parent)) for path in build.glob("*/manifest.json"))


def test_the_null_target_is_opt_in() -> None:
    assert "null" not in {target.name for target in choose(None)}
    assert [target.name for target in choose(("null",))] == ["null"]


def test_one_target_computes_the_integers_that_compiled_files_are_compared_with() -> None:
    assert [target.name for target in targets().values() if target.computes_integers] == [integer_target().name]
    assert integer_target().open is not None


def test_an_unknown_target_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EdgeError, match=r"'litertt'.*\blitert\b"):
        choose(("litertt",))


def test_the_list_names_every_target() -> None:
    done = subprocess.run([sys.executable, "-m", "edgeferry", "targets"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in targets())


@EACH_RUN
def test_it_predicts_like_the_keras_model(
    name: str, form: str, answer_once: Callable[..., Run], build: Path, scores: "NDArray[np.float32]"
) -> None:
    run = answer_once(name, form)
    artifact, tolerance = read_artifact(build / form), read_artifact(build / form).tolerance
    expected = scores if run.image_indices is None else scores[list(run.image_indices)]
    assert (run.scores.shape, str(run.scores.dtype)) == (expected.shape, "float32")
    differences, used = abs(run.scores - expected).max(axis=1), USED[tolerance.top1_agreement == 1]
    assert differences.max() < used * tolerance.p99_difference
    assert differences.mean() < tolerance.mean_difference
    assert run.labels in {None, artifact.labels}


@EACH_RUN
def test_it_times_the_requested_rounds_and_records_what_ran(name: str, form: str, answer_once: Callable[..., Run]) -> None:
    run = answer_once(name, form)
    assert {"runtime", "version"} <= set(run.environment)
    if not targets()[name].timed:
        assert run.latencies_ms == ()
        return
    assert len(run.latencies_ms) == (1 if run.environment.get("software_gpu") else 7)
    times_ms = (*run.latencies_ms, run.first_ms, run.load_ms)
    assert all(time_ms > 0 for time_ms in times_ms)
    # A software-rendered GPU takes as long as the other work on its cores lets it, and its times are not reported.
    assert run.environment.get("software_gpu") or max(times_ms) < 5000
    # Core ML has no number of threads.
    assert "compute_units" in run.environment or run.environment["threads"] == 1


def test_the_null_target_costs_nothing_and_agrees_with_nothing(answer: Callable[..., Run], scores: "NDArray[np.float32]") -> None:
    run = answer("null", "tflite-int8")
    assert run.scores.shape == scores.shape
    assert not run.scores.any()
