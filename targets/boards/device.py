# SPDX-License-Identifier: Apache-2.0
"""The program that runs a TF Lite file where edgeferry is not installed: in an old runtime's environment, on a board.

    python3 device.py job.json                  run the job, in a process of its own
    python3 device.py attach job.json ID keep   wait for the result of the job, detached; "again" replaces an earlier result

Python 3.7 and numpy 1.16 are enough; it needs a TF Lite runtime and imports nothing else. job.json holds ``model``, ``images``
(.npy, [count, height, width, channels], normalised float32 or the file's integers), ``warmup``, ``rounds``, ``threads``, the
paths of ``scores`` (.npy, raw outputs) and ``result`` (JSON), and may hold ``settle_s``, seconds of more warm-up, ``delegate``,
{library, options}, ``asks_for_quiet`` (targets/quiet.py), and ``longest_s`` for more than the first ``enough`` images. The result
holds ``error``, {kind, message}, where the job failed; the status is then 2.
"""

from __future__ import annotations

import fcntl
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

# History: 1, the first; 2, crashes and delegate errors are different kinds.
SCHEMA = 2
FAILED, NO_RESULT = 2, 3  # the statuses of a result that holds an error, and of no result; Python itself exits with 1
# What the Edge TPU compiler replaces operations with; only the delegate can run it.
CUSTOM_OPERATION = b"edgetpu-custom-op"


class JobError(Exception):
    """Why the job failed; ``kind`` is a name that the other side knows."""

    def __init__(self, kind: str, message: Any) -> None:  # noqa: D107
        super().__init__(str(message))
        self.kind = kind


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    commands = {"attach": attach, "predict": predict}
    return commands[arguments[0]](*arguments[1:]) if arguments[0] in commands else supervise(*arguments)


def supervise(job_file: str, asked_by: str = "") -> int:
    """Run a job in a child process and write its result, also where the child crashed."""
    job = read_json(Path(job_file))
    progress = Path(job["result"] + ".progress")
    write_json(progress, {})
    flags = [flag for flag, on in (("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)) if on]
    command = [sys.executable, *flags, __file__, "predict", job_file]
    ended = subprocess.run(command, stderr=subprocess.PIPE, check=False)  # noqa: S603 - this very program
    said = ended.stderr.decode("utf-8", "replace")
    sys.stderr.write(said)
    result = {"schema": SCHEMA, "error": None, **read_json(progress), "asked_by": asked_by}
    status = ended.returncode
    if status not in (0, FAILED):
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        result["error"] = {"kind": "crashed", "message": how + " while " + result.get("stage", "starting")}
    if result["error"]:
        result["said"] = said.strip().splitlines()[-4:]
    write_json(Path(job["result"]), result)
    progress.unlink()
    return 0 if result["error"] is None else FAILED


def attach(job_file: str, asked_by: str, keep: str) -> int:
    """Wait for a job's result; start the job, detached, unless it has one or is running: a running job holds the lock."""
    for _ in range(2):
        if is_finished(job_file, asked_by, keep):
            return 0
        with Path("lock").open("a") as lock, Path("device.log").open("ab") as log, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            command = [sys.executable, __file__, job_file, asked_by]
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            subprocess.Popen(command, start_new_session=True, pass_fds=[lock.fileno()], **streams)  # noqa: S603 - this very program
        with Path("lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
    return 0 if is_finished(job_file, asked_by, keep) else NO_RESULT


def is_finished(job_file: str, asked_by: str, keep: str) -> bool:
    """Return whether there is a result of this request, or, with "keep", any good one."""
    job = read_json(Path(job_file))
    scores, written = Path(job["scores"]), Path(job["result"])
    result = read_json(written) if written.is_file() else {"error": "none"}
    if result["error"] is None and not (scores.is_file() and sha256_of(scores) == result["scores_sha256"]):
        return False
    return bool(result.get("asked_by") == asked_by or (result["error"] is None and keep == "keep"))


def predict(job_file: str) -> int:
    """Run the job in this process and write what is known at each stage."""
    job, result = read_json(Path(job_file)), {"error": None}
    progress = Path(job["result"] + ".progress")

    def begin(stage: str) -> None:
        result["stage"] = stage
        write_json(progress, result)

    try:
        run(job, result, begin)
    except Exception as error:  # noqa: BLE001 - any error is reported to the other side
        result["error"] = {"kind": getattr(error, "kind", type(error).__name__), "message": str(error).strip()}
    write_json(progress, result)
    return 0 if result["error"] is None else FAILED


def run(job: Facts, result: Facts, begin: Callable[[str], None]) -> None:
    """Run all images, time the first, and put each fact into ``result`` as soon as it is known."""
    begin("loading the runtime")
    with suppress(ImportError):
        import numpy as np  # noqa: F401 - so that the memory counted is that of the runtime and the file
    before = memory_bytes("VmRSS")
    package, runtime = load_runtime()
    result["environment"] = {**environment(package), "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    result["model_sha256"], delegate = sha256_of(Path(job["model"])), job.get("delegate")
    loaded = load_delegate(delegate, Path(job["model"]), runtime, result, begin) if delegate else None
    begin("loading the file")
    start = time.perf_counter()
    interpreter = opened(job, runtime, loaded)
    result["load_ms"], result["threads"] = (time.perf_counter() - start) * 1000, job["threads"]
    # How many parts of the graph a delegate such as XNNPACK took, where the runtime reports it.
    listed = getattr(interpreter, "_get_ops_details", lambda: None)()
    result["delegate_partitions"] = None if listed is None else sum(each["op_name"] == "DELEGATE" for each in listed)
    if delegate:
        # No runtime allocates the operation without it.
        result["delegate"]["verified"] = f"it took {CUSTOM_OPERATION.decode()}, which nothing else runs"
    begin("predicting")
    measure(job, interpreter, result)
    result["memory_bytes"] = None if before is None else max((memory_bytes("VmHWM") or 0) - before, 0)
    result["scores_sha256"] = sha256_of(Path(job["scores"]))


def measure(job: Facts, interpreter: Any, result: Facts) -> None:
    """Run every image, then time the rounds; the first call is timed separately."""
    import numpy as np

    takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    result["input"], result["output"] = described(takes), described(gives)
    images = np.load(job["images"], mmap_mode="r")

    def put(at: int) -> None:
        interpreter.set_tensor(takes["index"], quantized(np.array(images[at : at + 1]), takes))

    def invoke() -> Any:
        interpreter.invoke()
        return interpreter.get_tensor(gives["index"])

    put(0)
    result["first_ms"] = timed(invoke)
    scores, ends = [], time.perf_counter() + job.get("longest_s", float("inf"))
    while len(scores) < len(images) and (len(scores) < job.get("enough", 0) or time.perf_counter() < ends):
        put(len(scores))
        scores.append(invoke())
    put(0)
    if job.get("asks_for_quiet"):
        Path("quiet.wanted").touch()
        while not Path("quiet.granted").exists():
            time.sleep(0.005)
    settle(invoke, job["warmup"], job.get("settle_s", 0))
    result["latencies_ms"] = [timed(invoke) for _ in range(job["rounds"])]
    np.save(job["scores"], np.concatenate(scores))


def memory_bytes(name: str) -> Any:
    """Return this process's memory as Linux reports it, VmRSS at present, VmHWM the highest ever; None elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def settle(call: Callable[[], Any], warmup: int, least_s: float) -> None:
    """Call so often, then for ``least_s`` seconds, then on while ten calls take less than the ten before, for 5 more seconds."""
    for _ in range(warmup):
        call()
    begun, last = time.perf_counter(), float("inf")
    while least_s:
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
            raise JobError("runtime missing", error) from None
    return package, interpreter


def load_delegate(wanted: Facts, model: Path, runtime: Any, result: Facts, begin: Callable[[str], None]) -> Any:
    """Return the delegate; its library and loading time go into ``result``."""
    if CUSTOM_OPERATION not in model.read_bytes():
        raise JobError("delegate refused", "the file is not compiled: it contains no Edge TPU operation")
    begin("loading " + wanted["library"])
    start = time.perf_counter()
    try:
        delegate = runtime.load_delegate(wanted["library"], wanted["options"])
    except OSError as error:
        raise JobError("library missing", error) from None
    except ValueError as error:
        raise JobError("no device", error) from None
    loading_ms, path = (time.perf_counter() - start) * 1000, mapped(wanted["library"])
    if path is None and Path("/proc/self/maps").exists():
        raise JobError("delegate refused", wanted["library"] + " is not loaded in the process")
    result["delegate"] = {"loading_ms": loading_ms, **({"library": path, "sha256": sha256_of(Path(path))} if path else {})}
    return delegate


def opened(job: Facts, runtime: Any, delegate: Any) -> Any:
    """Return the interpreter with its tensors allocated, where a delegate refuses a file that it cannot run."""
    options = {"num_threads": job["threads"], "experimental_delegates": delegate and [delegate]}
    try:
        interpreter = runtime.Interpreter(model_path=job["model"], **options)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        if delegate is None:
            raise
        raise JobError("delegate refused", error) from None
    return interpreter


def quantized(values: Any, tensor: Facts) -> Any:
    """Return values as the tensor stores them: round(value / scale) + zero_point, clipped to its type; floats as they are."""
    import numpy as np

    dtype = np.dtype(tensor["dtype"])
    if not np.issubdtype(dtype, np.integer) or values.dtype == dtype:
        return values.astype(dtype)
    scale, zero_point = tensor["quantization"]
    return np.clip(np.round(values / scale) + zero_point, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


def described(tensor: Facts) -> Facts:
    """Return a tensor as the file declares it, ready for JSON."""
    shape, (scale, zero_point) = [int(size) for size in tensor["shape"]], tensor["quantization"]
    facts = {"name": tensor["name"], "shape": shape, "dtype": tensor["dtype"].__name__}
    return {**facts, "quantization": [float(scale), int(zero_point)]}


def environment(runtime: Any) -> Facts:
    """Return the runtime, Python, numpy and system."""
    import numpy as np

    versions = {name: getattr(runtime, f"__{name}__", "unknown") for name in ("version", "git_version")}
    system = {"python": platform.python_version(), "system": platform.platform()}
    return {"runtime": runtime.__name__, "numpy": np.__version__, **versions, **system}


def mapped(library: str) -> str | None:
    """Return the path of a library that this process has loaded, or None."""
    maps, stem = Path("/proc/self/maps"), Path(library).name.split(".so")[0]
    text = maps.read_text(encoding="utf-8", errors="replace") if maps.exists() else ""
    paths = [line.split(None, 5)[-1] for line in text.splitlines() if stem in line]
    return next((path for path in paths if Path(path).name.startswith(stem)), None)


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
    """Write a file next to its place and rename it there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
