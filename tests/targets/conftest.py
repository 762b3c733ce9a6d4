# SPDX-License-Identifier: Apache-2.0
"""Real artifacts of a small trained classifier, and every target run as the harness runs it: in a child process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from exporters.export import export_all
from models.child import Child
from models.spec import ModelSpec
from targets.target import Job, Run, targets

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
        target = targets()[name]
        if why := target.missing():
            pytest.skip(why)
        job = Job(build / folder, build / "reference" / "pixels.npy", tmp_path / "work", **{"warmup": 1, "rounds": 5} | how)
        answered: Run = child.call(target.run, job, log=tmp_path / "target.log", timeout_s=300)
        return answered

    return run
