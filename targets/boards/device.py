# SPDX-License-Identifier: Apache-2.0
"""The program that runs a TF Lite file where this toolkit is not: an old runtime's environment, a board.

    python3 device.py job.json                  run the job, in a process of its own
    python3 device.py attach job.json ID now    wait for the job; start it, apart from this session, where nobody has

Python 3.7 and numpy 1.16 are enough; it needs a TF Lite runtime and imports nothing else. job.json holds ``model``, ``images``
(.npy, [count, height, width, channels], normalised float32 or the file's integers), ``warmup``, ``rounds``, ``threads``, where to
write ``scores`` (.npy, raw answers) and ``result`` (JSON), and may hold ``settle_s``, seconds of further warm-up, and
``delegate``, {library, options}. The result holds ``error``, {kind, message}, where something went wrong; the status is then 2.
"""

from __future__ import annotations

import hashlib
import json
import platform
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict

Facts = Dict[str, Any]

# History: 1, the first; 2 tells crashes and what a delegate came to apart.
SCHEMA = 2
# The statuses of a result that tells of an error, and of no result; Python itself ends with 1.
TOLD, NO_RESULT = 2, 3
# What the Edge TPU compiler leaves of the operations it took; only the delegate can run it.
CUSTOM_OPERATION = b"edgetpu-custom-op"


class Trouble(Exception):  # noqa: N818 - a row's reason
    """What went wrong, under the name that the other side knows it by."""

    def __init__(self, kind: str, message: Any) -> None:  # noqa: D107
        super().__init__(str(message))
        self.kind = kind


def main(arguments: list[str]) -> int:
    """Do what the command line says and return the exit status."""
    does = {"attach": attach, "answer": answer}.get(arguments[0])
    return does(*arguments[1:]) if does else supervise(*arguments)


def supervise(job_file: str, asked_by: str = "") -> int:
    """Run a job in a child process and write its result, which tells of the child's death too."""
    job = read_json(Path(job_file))
    progress = Path(job["result"] + ".progress")
    write_json(progress, {})
    flags = [flag for flag, on in (("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)) if on]
    command = [sys.executable, *flags, __file__, "answer", job_file]
    ended = subprocess.run(command, stderr=subprocess.PIPE, check=False)  # noqa: S603 - this very program
    said = ended.stderr.decode("utf-8", "replace")
    sys.stderr.write(said)
    result = {"schema": SCHEMA, "error": None, **read_json(progress), "asked_by": asked_by}
    if ended.returncode not in (0, TOLD):
        result["error"] = {"kind": "crashed", "message": how_it_died(ended.returncode, result.get("stage", "starting"))}
    if result["error"] is not None:
        result["said"] = said.strip().splitlines()[-4:]
    write_json(Path(job["result"]), result)
    progress.unlink()
    return 0 if result["error"] is None else TOLD


def how_it_died(status: int, stage: str) -> str:
    """Return in words how a process ended."""
    return (f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}") + f" while {stage}"


def attach(job_file: str, asked_by: str, anew: str) -> int:
    """Wait until a job has a result; start it where it has none and nobody is at it. The lock is held by who is at it."""
    import fcntl

    for _ in range(2):
        if is_finished(job_file, asked_by, anew):
            return 0
        with Path("lock").open("a") as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            start_apart([sys.executable, __file__, job_file, asked_by], lock.fileno())
        with Path("lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
    return 0 if is_finished(job_file, asked_by, anew) else NO_RESULT


def start_apart(command: list[str], lock: int) -> None:
    """Start a program that goes on when this session ends; the lock is held as long as it runs."""
    with Path("device.log").open("ab") as log:
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        subprocess.Popen(command, start_new_session=True, pass_fds=[lock], **streams)  # noqa: S603 - this very program


def is_finished(job_file: str, asked_by: str, anew: str) -> bool:
    """Say whether there is the result asked for: one made for this asker, or, unless it is wanted anew, any good one."""
    job = read_json(Path(job_file))
    scores, told = Path(job["scores"]), Path(job["result"])
    result = read_json(told) if told.is_file() else {"error": "none"}
    if result["error"] is None and not (scores.is_file() and sha256_of(scores) == result["scores_sha256"]):
        return False
    return bool(result.get("asked_by") == asked_by or (result["error"] is None and anew != "anew"))


def answer(job_file: str) -> int:
    """Answer the job's images in this process, writing down what is known at each stage."""
    job, result = read_json(Path(job_file)), {"error": None}
    progress = Path(job["result"] + ".progress")

    def begin(stage: str) -> None:
        result["stage"] = stage
        write_json(progress, result)

    try:
        run(job, result, begin)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        result["error"] = {"kind": getattr(error, "kind", type(error).__name__), "message": str(error).strip()}
    write_json(progress, result)
    return 0 if result["error"] is None else TOLD


def run(job: Facts, result: Facts, begin: Callable[[str], None]) -> None:
    """Answer all images, time the first, and write down each fact in ``result`` as soon as it is known."""
    begin("loading the runtime")
    with suppress(ImportError):
        # So that the memory told is the runtime's and the file's.
        import numpy as np  # noqa: F401
    before = memory_bytes("VmRSS")
    package, runtime = load_runtime()
    result["environment"] = {**environment(package), "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    result["model_sha256"] = sha256_of(Path(job["model"]))
    delegate = job.get("delegate")
    loaded = load_delegate(delegate, Path(job["model"]), runtime, result, begin) if delegate else None
    begin("loading the file")
    start = time.perf_counter()
    interpreter = opened(job, runtime, loaded)
    result["load_ms"] = (time.perf_counter() - start) * 1000
    result["threads"] = job["threads"]
    result["delegate_partitions"] = delegate_partitions(interpreter)
    if delegate:
        # Every runtime refuses to allocate the operation without it.
        result["delegate"]["verified"] = f"it took {CUSTOM_OPERATION.decode()}, which nothing else runs"
    begin("answering")
    measure(job, interpreter, result)
    peak = memory_bytes("VmHWM")
    result["memory_bytes"] = None if before is None or peak is None else max(peak - before, 0)
    result["scores_sha256"] = sha256_of(Path(job["scores"]))


def measure(job: Facts, interpreter: Any, result: Facts) -> None:
    """Answer every image and time the rounds; the first call stands apart."""
    import numpy as np

    takes, answers = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    result["input"], result["output"] = described(takes), described(answers)
    images = np.load(job["images"], mmap_mode="r")

    def put(at: int) -> None:
        interpreter.set_tensor(takes["index"], quantized(np.array(images[at : at + 1]), takes))

    def invoke() -> Any:
        interpreter.invoke()
        return interpreter.get_tensor(answers["index"])

    put(0)
    result["first_ms"] = timed(invoke)
    scores = []
    for at in range(len(images)):
        put(at)
        scores.append(invoke())
    put(0)
    for _ in range(job["warmup"]):
        invoke()
    if job.get("settle_s"):
        settle(invoke, job["settle_s"])
    result["latencies_ms"] = [timed(invoke) for _ in range(job["rounds"])]
    np.save(job["scores"], np.concatenate(scores))


def memory_bytes(name: str) -> Any:
    """Return what Linux tells of this process's memory, VmRSS what it holds, VmHWM the most it ever held; None elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def settle(call: Callable[[], Any], least_s: float) -> None:
    """Call for so many seconds, and then on while ten calls take less than the ten before, for 5 seconds at most."""
    begun, last = time.perf_counter(), float("inf")
    while True:
        times = [timed(call)]
        while len(times) < 10 and time.perf_counter() - begun < least_s + 5:
            times.append(timed(call))
        median, passed = sorted(times)[len(times) // 2], time.perf_counter() - begun - least_s
        if passed > 5 or (passed > 0 and median >= last):
            return
        last = median


def load_runtime() -> tuple[Any, Any]:
    """Return the runtime's package and its interpreter module: tflite_runtime, or its successor ai_edge_litert."""
    try:
        import tflite_runtime as package
        from tflite_runtime import interpreter
    except ImportError:
        try:
            import ai_edge_litert as package
            from ai_edge_litert import interpreter
        except ImportError as error:
            raise Trouble("runtime missing", error) from None
    return package, interpreter


def load_delegate(wanted: Facts, model: Path, runtime: Any, result: Facts, begin: Callable[[str], None]) -> Any:
    """Return the delegate, and tell its library and how long it took."""
    if CUSTOM_OPERATION not in model.read_bytes():
        raise Trouble("delegate refused", "the file holds nothing for an Edge TPU: it is not compiled")
    begin("loading " + wanted["library"])
    start = time.perf_counter()
    try:
        delegate = runtime.load_delegate(wanted["library"], wanted["options"])
    except OSError as error:
        raise Trouble("library missing", error) from None
    except ValueError as error:
        raise Trouble("no device", error) from None
    loading_ms, path = (time.perf_counter() - start) * 1000, mapped(wanted["library"])
    if path is None and Path("/proc/self/maps").exists():
        raise Trouble("delegate refused", wanted["library"] + " is not among the libraries of the process")
    told = {"library": path, "sha256": sha256_of(Path(path))} if path else {}
    result["delegate"] = {"loading_ms": loading_ms, **told}
    return delegate


def opened(job: Facts, runtime: Any, delegate: Any) -> Any:
    """Return the interpreter, its tensors allocated. A delegate that does not take what was compiled for it is told here."""
    options = {"num_threads": job["threads"], **({} if delegate is None else {"experimental_delegates": [delegate]})}
    try:
        interpreter = runtime.Interpreter(model_path=job["model"], **options)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        if delegate is None:
            raise
        raise Trouble("delegate refused", error) from None
    return interpreter


def quantized(values: Any, tensor: Facts) -> Any:
    """Return values as the tensor stores them: round(value / scale) + zero_point, clipped to its type; floats as they are."""
    import numpy as np

    dtype = np.dtype(tensor["dtype"])
    if not np.issubdtype(dtype, np.integer) or values.dtype == dtype:
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
        "dtype": tensor["dtype"].__name__,
        "quantization": [float(scale), int(zero_point)],
    }


def delegate_partitions(interpreter: Any) -> int | None:
    """Return how many parts of the graph a delegate such as XNNPACK took, or None where the runtime does not tell."""
    told = getattr(interpreter, "_get_ops_details", None)
    return None if told is None else sum(operation["op_name"] == "DELEGATE" for operation in told())


def environment(runtime: Any) -> Facts:
    """Return what runs the file."""
    import numpy as np

    return {
        "runtime": runtime.__name__,
        "version": getattr(runtime, "__version__", "unknown"),
        "git_version": getattr(runtime, "__git_version__", "unknown"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.platform(),
    }


def mapped(library: str) -> str | None:
    """Return the path of a library that this process has loaded, or None."""
    maps, stem = Path("/proc/self/maps"), Path(library).name.split(".so")[0]
    lines = maps.read_text(encoding="utf-8", errors="replace").splitlines() if maps.exists() else []
    paths = [Path(line.split(None, 5)[-1]) for line in lines if stem in line]
    return next((str(path) for path in paths if path.name.startswith(stem)), None)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_json(path: Path) -> Facts:
    """Return what a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def timed(call: Callable[[], Any]) -> float:
    """Return how many milliseconds a call took."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def write_json(path: Path, value: Facts) -> None:
    """Write a value beside its place and rename it there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
