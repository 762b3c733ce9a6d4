# SPDX-License-Identifier: Apache-2.0
"""TF Lite files on this machine's CPU by LiteRT's own kernels: the integers that other runtimes' integers are held to.

XNNPACK, LiteRT's default, rounds integers otherwise; TF Lite's own kernels are what the Edge TPU and old runtimes follow.
"""

import sys
from pathlib import Path
from typing import Final

from targets.installed import needs, versions
from targets.target import Job, Run, Target
from targets.tflite_runtime import as_run, run_on_device

NAME: Final = "litert-builtin"


def _run(job: Job) -> Run:
    result = run_on_device(job, Path(sys.executable), builtin=True)
    return as_run(job, result, (job.work / "scores.npy").read_bytes())


TARGETS = (
    Target(
        name=NAME,
        summary="this CPU, by LiteRT without XNNPACK",
        reads=frozenset({"tflite"}),
        missing=needs("ai_edge_litert"),
        run=_run,
        versions=versions("ai-edge-litert", "numpy"),
        asked_by_default=False,
    ),
)
