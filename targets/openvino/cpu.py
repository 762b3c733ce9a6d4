# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on this machine's CPU: its own IR, ONNX and TF Lite files, each read by its own frontend.

It has an environment of its own (``make setup-openvino``), so a program under that environment's Python runs the job.
"""

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.artifact import Tensor
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.environments import OPENVINO
from edgeferry.models.system.files import write_json
from edgeferry.targets.boards import tflite_runtime
from edgeferry.targets.host.program import run_program
from edgeferry.targets.litert.tflite_file import dequantized, labels_in, quantized
from edgeferry.targets.target import BatchedScores, Job, OperationTime, Run, Target, Unsupported
from edgeferry.targets.timing import batches_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM: Final = Path(__file__).with_name("run_openvino.py")
SCORES: Final = "scores.npy"
RESULT: Final = "result.json"
PROFILED_CALLS: Final = 45
# What OpenVINO says, as text only, of a file with operations that it lacks.
LACKING: Final = re.compile(
    r"(?:No conversion rule found for operations: |No translator found for )(?P<names>[^\n]+?)(?: node\.)?$", re.MULTILINE
)


def run(job: Job) -> Run:
    """Return the run of a job by OpenVINO, one image after another, then in batches where the file takes these.

    Raises:
        Unsupported: OpenVINO lacks an operation of the file, or something else than the CPU, or other threads, ran it.
        RuntimeError: it cannot read the file.
    """
    import numpy as np

    batches = batches_of(job) if job.artifact.inputs[0].shape[0] is None else []
    result = _result(job, {"batches": batches})
    ran = result["environment"]
    outputs = dequantized(np.load(job.work / SCORES, allow_pickle=False), _as_stored(job.artifact.outputs[0]))
    count = len(job.images())
    return Run(
        scores=outputs[:count],
        labels=_labels(job),
        latencies_ms=tuple(result["latencies_ms"]),
        first_ms=result["first_ms"],
        load_ms=result["load_ms"],
        environment={**ran, "memory_bytes": result["memory_bytes"]},
        batched=BatchedScores(tuple(map(tuple, batches)), outputs[count:]) if batches else None,
    )


def profile(job: Job) -> list[OperationTime]:
    """Return the operations as OpenVINO compiled them, with their times by its own profiler."""
    return [OperationTime(*each) for each in _result(job, {"batches": [], "profiled": PROFILED_CALLS})["operations"]]


def _result(job: Job, more: "Mapping[str, Any]") -> dict[str, Any]:
    """Return what the program writes."""
    import numpy as np

    job.work.mkdir(parents=True, exist_ok=True)
    for program in (PROGRAM, tflite_runtime.HERE / "device.py"):
        shutil.copyfile(program, job.work / program.name)
    images = quantized(normalise(job.images(), job.artifact.preprocessing), _as_stored(job.artifact.inputs[0]))
    np.save(job.work / "images.npy", images)
    files = {"model": str(job.main_file.resolve()), "images": "images.npy", "scores": SCORES, "result": RESULT}
    how = {"warmup": job.warmup, "settle_s": job.settle_s, "rounds": job.rounds, "threads": job.threads, "profiled": 0}
    write_json(job.work / "job.json", {**files, **how, "asks_for_quiet": job.asks_for_quiet, **more})
    (job.work / RESULT).unlink(missing_ok=True)
    # Made absolute without following links: a virtual environment's Python is a link.
    run_program([OPENVINO.python.absolute(), "-E", "-s", PROGRAM.name, "job.json"], job.work)
    return checked(json.loads((job.work / RESULT).read_text(encoding="utf-8")), job.threads)


def checked(result: dict[str, Any], threads: int) -> dict[str, Any]:
    """Return the program's result where it holds no error and what was requested is what ran.

    Raises:
        Unsupported: OpenVINO lacks an operation of the file, or something else than the CPU, or other threads, ran it.
        RuntimeError: it cannot read the file.
    """
    if (error := result["error"]) is not None:
        if lacking := LACKING.search(error):
            raise Unsupported("EF-openvino-operation", f"OpenVINO has no {lacking['names']}")
        raise RuntimeError(f"OpenVINO cannot read it: {' '.join(error.split())}")
    ran = result["environment"]
    if ran["devices"] != ["CPU"] or ran["threads"] != threads:
        raise Unsupported(
            "EF-openvino-device",
            f"the CPU and {threads} threads were requested, but {', '.join(ran['devices'])} and {ran['threads']} threads ran",
        )
    return result


def _as_stored(tensor: Tensor) -> dict[str, Any]:
    return {"dtype": tensor.dtype, "quantization": (tensor.scale, tensor.zero_point)}


def _labels(job: Job) -> tuple[str, ...] | None:
    return labels_in(job.main_file) if job.artifact.kind == "tflite" else None


TARGETS = (
    Target(
        name="openvino-cpu",
        summary="this CPU, by OpenVINO",
        reads=frozenset({"openvino", "onnx", "tflite"}),
        missing=OPENVINO.missing,
        run=run,
        versions=OPENVINO.versions,
        side_by_side=True,
        profile=profile,
    ),
)
