# SPDX-License-Identifier: Apache-2.0
"""A target that answers nothing, at no cost: what it takes is the harness's own time."""

from typing import Final

from targets.target import Job, Run, Target
from targets.timing import answer_and_time, normalised_images

KINDS: Final = frozenset({"coreml", "edgetpu", "keras", "onnx", "savedmodel", "tflite", "tfjs"})


def _run(job: Job) -> Run:
    import numpy as np

    nothing = np.zeros((1, len(job.artifact.labels)), np.float32)
    measured = answer_and_time(lambda _: lambda: nothing, normalised_images(job), job)
    return Run(
        scores=np.concatenate(measured.answers),
        labels=None,
        latencies_ms=measured.latencies_ms,
        first_ms=measured.first_ms,
        load_ms=0.0,
        environment={"runtime": "none", "threads": 1},
    )


TARGETS = (
    Target(
        name="null",
        summary="zeros at no cost: the harness itself",
        reads=KINDS,
        missing=lambda: None,
        run=_run,
        versions=dict,
        asked_by_default=False,
    ),
)
