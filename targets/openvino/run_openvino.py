# SPDX-License-Identifier: Apache-2.0
"""Run by the Python of OpenVINO's environment: one job on the CPU; ``run_openvino.py job.json``.

job.json holds ``model``, ``images`` (.npy, as the model takes them, [count, height, width, channels]), ``batches`` (lists of
numbers of images), ``threads``, ``warmup``, ``settle_s``, ``rounds``, ``asks_for_quiet``, ``profiled`` (how many calls the
profiler counts), and the paths of ``scores`` and ``result``. device.py lies next to it, whose loop measures every runtime that
has a Python of its own; nothing of edgeferry is imported.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from device import memory_bytes, settle, timed, write_json  # type: ignore[import-not-found]


def main(job_file: str) -> None:
    """Run a job and write its result; one that OpenVINO cannot read holds ``error``."""
    import numpy as np
    import openvino  # type: ignore[import-not-found]

    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    before = memory_bytes("VmRSS")
    start = time.perf_counter()
    try:
        compiled = compiled_model(openvino, job)
    except RuntimeError as error:
        write_json(Path(job["result"]), {"error": str(error)})
        return
    result: dict[str, Any] = {
        "error": None,
        "load_ms": (time.perf_counter() - start) * 1000,
        "environment": environment(compiled),
    }
    request, images = compiled.create_infer_request(), np.load(job["images"], mmap_mode="r")

    def infer(image: Any) -> Any:
        return request.infer({0: image}, share_inputs=True)[0]

    if job["profiled"]:
        result["operations"] = operations(request, images[:1], job["profiled"])
    else:
        measure(job, result, infer, images)
        result["memory_bytes"] = None if before is None else max((memory_bytes("VmHWM") or 0) - before, 0)
    write_json(Path(job["result"]), result)


def compiled_model(openvino: Any, job: dict[str, Any]) -> Any:
    """Return the model compiled for the CPU, in the precision of the file, for one request at a time."""
    how = {"INFERENCE_NUM_THREADS": job["threads"], "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    # Otherwise processors with bfloat16 round float32 to it.
    how |= {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": bool(job["profiled"])}
    core = openvino.Core()
    return core.compile_model(core.read_model(job["model"]), "CPU", how)


def environment(compiled: Any) -> dict[str, Any]:
    """Return what runs: the version, the devices, threads and precision that OpenVINO reports."""
    import openvino

    return {
        "runtime": "openvino",
        "version": openvino.get_version().partition("-")[0],
        "devices": list(compiled.get_property("EXECUTION_DEVICES")),
        "threads": compiled.get_property("INFERENCE_NUM_THREADS"),
        "precision": compiled.get_property("INFERENCE_PRECISION_HINT").to_string(),
    }


def measure(job: dict[str, Any], result: dict[str, Any], infer: Any, images: Any) -> None:
    """Run every image and the batches, and time the first image."""
    import numpy as np

    first = np.array(images[:1])
    result["first_ms"] = timed(lambda: infer(first))
    scores = [infer(np.array(images[at : at + 1])).copy() for at in range(len(images))]
    scores += [infer(np.array(images[batch])).copy() for batch in job["batches"]]
    if job["asks_for_quiet"]:
        Path("quiet.wanted").touch()
        while not Path("quiet.granted").exists():
            time.sleep(0.005)
    settle(lambda: infer(first), job["warmup"], job["settle_s"])
    result["latencies_ms"] = [timed(lambda: infer(first)) for _ in range(job["rounds"])]
    np.save(job["scores"], np.concatenate(scores))


def operations(request: Any, image: Any, count: int) -> list[tuple[str, str, float]]:
    """Return name, kind and mean milliseconds of every operation that ran, in order; a third of the calls warm it up."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(count):
        request.infer({0: image})
        for each in request.profiling_info:
            if "NOT_RUN" not in str(each.status) and "OPTIMIZED_OUT" not in str(each.status):
                times[each.node_name, each.node_type].append(each.real_time.total_seconds() * 1000)
    return [(*which, statistics.fmean(taken[count // 3 :])) for which, taken in times.items()]


if __name__ == "__main__":
    main(*sys.argv[1:])
