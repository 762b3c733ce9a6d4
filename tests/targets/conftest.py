# SPDX-License-Identifier: Apache-2.0
"""Real artifacts of a small trained classifier, and every target run as the harness runs it: in a child process."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from exporters.export import export_all
from models.child import Child
from models.spec import ModelSpec
from targets.target import Job, Run, Unsupported, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS: Final = ("keras", "savedmodel", "tflite-float32", "tflite-int8", "onnx-float32", "tfjs-float32", "coreml-float16")

Answer = Callable[..., Run]


@pytest.fixture(scope="session")
def build(colours: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the colour classifier's reference and artifacts."""
    folder = tmp_path_factory.mktemp("build")
    failed = [each for each in export_all(colours, folder, FORMATS, lambda _: None) if each.state != "written"]
    assert not failed
    return folder


@pytest.fixture(scope="session")
def scores(build: Path) -> "NDArray[np.float32]":
    """Return the original's probabilities."""
    import numpy as np

    original: NDArray[np.float32] = np.load(build / "reference" / "scores.npy")
    return original


@pytest.fixture(scope="session")
def child() -> Iterator[Child]:
    with Child() as child:
        yield child


@pytest.fixture
def answer(build: Path, child: Child, tmp_path: Path) -> Answer:
    """Return ``answer(target, folder, **job)``: a target's run of an artifact's folder, or of a format's by its name."""

    def run(name: str, folder: Path | str, **how: Any) -> Run:
        return _run(child, name, build, tmp_path, folder=folder, **how)

    return run


@pytest.fixture(scope="session")
def answer_once(build: Path, child: Child, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """Return ``answer_once(target, format)``: the one run of seven rounds that all tests look at."""

    @cache
    def run(name: str, form: str) -> Run | str:
        try:
            return _run(child, name, build, tmp_path_factory.mktemp("once"), folder=form, rounds=7)
        except Unsupported as error:
            return str(error)

    def run_or_skip(name: str, form: str) -> Run:
        answered = run(name, form)
        if isinstance(answered, str):
            pytest.skip(answered)
        return answered

    return run_or_skip


def _run(child: Child, name: str, build: Path, work: Path, *, folder: Path | str, **how: Any) -> Run:
    target = targets()[name]
    if why := target.missing():
        pytest.skip(why)
    job = Job(build / folder, build / "reference" / "pixels.npy", work / "work", **{"warmup": 1, "rounds": 5} | how)
    answered: Run = child.call(target.run, job, log=work / "target.log", timeout_s=300)
    return answered
