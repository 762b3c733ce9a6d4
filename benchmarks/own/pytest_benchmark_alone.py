# SPDX-License-Identifier: Apache-2.0
"""Two artifacts timed as pytest-benchmark times them by itself, for bench_method.py, which runs this file."""

import os
from pathlib import Path
from typing import Any, Final

from edgeferry.models.reference import PIXELS, REFERENCE
from edgeferry.targets.target import Job, targets
from edgeferry.targets.timing import images_of

BUILD: Final = Path(os.environ.get("EDGEFERRY_ALONE", "."))
WARMUP: Final = 20


def bench_litert(benchmark: Any) -> None:
    """LiteRT, in one block."""
    _timed(benchmark, "tflite-float32", "litert")


def bench_onnx(benchmark: Any) -> None:
    """ONNX Runtime, in another."""
    _timed(benchmark, "onnx-float32", "onnxruntime-cpu")


def _timed(benchmark: Any, form: str, target: str) -> None:
    job = Job(BUILD / form, BUILD / REFERENCE / PIXELS, BUILD / "work")
    opened = targets()[target].open
    assert opened is not None
    session = opened(job)
    infer = session.ready(images_of(session, job)[0])
    for _ in range(WARMUP):
        infer()
    # As long and as often as it chooses.
    benchmark(infer)
