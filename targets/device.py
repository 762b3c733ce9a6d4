# SPDX-License-Identifier: Apache-2.0
"""The program that runs a TF Lite file where this toolkit is not: an old runtime's environment, a board.

    python3 device.py job.json

Python 3.7 and numpy 1.16 are enough; it needs a TF Lite runtime and imports nothing else. job.json holds ``model``, ``images``
(.npy, float32, [count, height, width, channels], normalised), ``warmup``, ``rounds``, ``threads``, and where to write: ``scores``
(.npy, the raw answers) and ``result`` (JSON). The result holds ``error``, {kind, message}, where something went wrong; the status
is then 2.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np

Facts = Dict[str, Any]

# History: 1, the first.
SCHEMA = 1
# The status of a run whose result tells of an error; Python itself ends with 1.
TOLD = 2


def main(job_file: str) -> int:
    """Run the job a file describes and return the exit status."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    result: Facts = {"schema": SCHEMA, "error": None}
    try:
        run(job, result)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        result["error"] = {"kind": type(error).__name__, "message": str(error).strip()}
    write_whole(Path(job["result"]), json.dumps(result, indent=1).encode("utf-8"))
    return 0 if result["error"] is None else TOLD


def run(job: Facts, result: Facts) -> None:
    """Answer all images, time the first, and write down each fact in ``result`` as soon as it is known."""
    runtime, interpreter_class = load_runtime()
    result["environment"] = environment(runtime)
    result["model_sha256"] = hashlib.sha256(Path(job["model"]).read_bytes()).hexdigest()
    start = time.perf_counter()
    interpreter = interpreter_class(model_path=job["model"], num_threads=job["threads"])
    interpreter.allocate_tensors()
    result["load_ms"] = milliseconds_since(start)
    result["threads"] = job["threads"]
    result["delegate_partitions"] = delegate_partitions(interpreter)
    takes, answers = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    result["input"], result["output"] = described(takes), described(answers)
    images = quantized(np.load(job["images"]), takes)

    def put(image: np.ndarray) -> None:
        interpreter.set_tensor(takes["index"], image)

    def answer() -> np.ndarray:
        interpreter.invoke()
        return interpreter.get_tensor(answers["index"])

    put(images[:1])
    result["first_ms"] = timed(answer)
    scores = []
    for at in range(len(images)):
        put(images[at : at + 1])
        scores.append(answer())
    put(images[:1])
    for _ in range(job["warmup"]):
        answer()
    result["latencies_ms"] = [timed(answer) for _ in range(job["rounds"])]
    np.save(job["scores"], np.concatenate(scores))


def load_runtime() -> tuple[Any, Any]:
    """Return the runtime's package and its Interpreter: tflite_runtime, or its successor ai_edge_litert."""
    try:
        import tflite_runtime
        from tflite_runtime.interpreter import Interpreter
    except ImportError:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter

        return ai_edge_litert, Interpreter
    return tflite_runtime, Interpreter


def quantized(values: np.ndarray, tensor: Facts) -> np.ndarray:
    """Return values as the tensor stores them: round(value / scale) + zero_point, clipped to its type; floats as they are."""
    dtype = np.dtype(tensor["dtype"])
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(dtype)
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(dtype)


def described(tensor: Facts) -> Facts:
    """Return a tensor as the file declares it, ready for JSON."""
    scale, zero_point = tensor["quantization"]
    return {
        "name": tensor["name"],
        "shape": [int(size) for size in tensor["shape"]],
        "dtype": np.dtype(tensor["dtype"]).name,
        "quantization": [float(scale), int(zero_point)],
    }


def delegate_partitions(interpreter: Any) -> int | None:
    """Return how many parts of the graph a delegate (XNNPACK, an Edge TPU) took, or None where the runtime does not tell."""
    operations = getattr(interpreter, "_get_ops_details", None)
    return None if operations is None else sum(operation["op_name"] == "DELEGATE" for operation in operations())


def environment(runtime: Any) -> Facts:
    """Return what this ran on."""
    return {
        "runtime": runtime.__name__,
        "version": getattr(runtime, "__version__", "unknown"),
        "git_version": getattr(runtime, "__git_version__", "unknown"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "system": platform.platform(),
    }


def timed(call: Callable[[], Any]) -> float:
    """Return how many milliseconds a call took."""
    start = time.perf_counter()
    call()
    return milliseconds_since(start)


def milliseconds_since(start: float) -> float:
    """Return the milliseconds since a moment of the monotonic clock."""
    return (time.perf_counter() - start) * 1000


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
