# SPDX-License-Identifier: Apache-2.0
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models.artifact import read_artifact
from targets.coreml import labels_in
from targets.target import Run, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is here")
def test_it_needs_macos() -> None:
    assert (targets()["coreml"].missing() or "").startswith("needs macOS")


def test_labels_are_read_from_the_program_itself(build: Path) -> None:
    ct = pytest.importorskip("coremltools", reason="coremltools is not installed")
    spec = ct.utils.load_spec(str(build / "coreml-float16" / "model.mlpackage"))
    assert labels_in(spec) == read_artifact(build / "coreml-float16").labels


@pytest.mark.mac
def test_it_answers_as_the_original_does(answer: Callable[..., Run], scores: "NDArray[np.float32]") -> None:
    assert abs(answer("coreml", "coreml-float16").scores - scores).max() < 0.05
