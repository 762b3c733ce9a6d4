# SPDX-License-Identifier: Apache-2.0
"""TF Lite files on this machine's CPU, by older runtimes: those that boards and containers still have.

Each needs a Python and a numpy of its time, so it has an environment of its own and runs device.py, the program that boards run
too. tflite-runtime 2.5.0.post1 is what Coral boards have, built from TensorFlow 2.5.0 (the package tflrt is a re-upload of it).
2.5 and 2.7 load a Dense layer quantized per-channel and output the same for every image, without an error: what holds on them
holds on a board's CPU.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from edgeferry.models.golden.order import read_order
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.environments import Environment
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_json
from edgeferry.targets.host.program import run_program
from edgeferry.targets.litert.tflite_file import delegate_name, dequantized, labels_in
from edgeferry.targets.target import Absent, Job, Run, Target, Unsupported
from edgeferry.targets.timing import ENOUGH

HERE: Final = Path(__file__).parent
# The file that device.py writes its outputs to.
SCORES: Final = "scores.npy"
# Judged, not measured: for so many seconds, and few rounds, since the 8-bit kernels of 2.5 and 2.7 take more than a second for
# an image of 224 x 224 on a PC's processor.
LONGEST_S: Final = 30.0
FEW_ROUNDS: Final = 10
# The status of device.py when its result holds an error.
FAILED: Final = 2
# How a runtime reports an operation that is newer than itself (as text only), in the order tried.
TOO_NEW: Final = (
    (re.compile(r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'"), "has no {0} version {1}; newer runtimes do"),
    (re.compile(r"[Oo]p builtin_code out of range: (\d+)"), "has no operation number {0}; newer runtimes do"),
    (re.compile(r"Encountered unresolved custom op: ([\w-]+)"), "has no operation {0}"),
)


# What is missing, as device.py names it: the code, and what to do; each may be available at the next run.
WHAT_IS_MISSING: Final = {
    "library missing": (
        "EF-libedgetpu-missing",
        "the Debian package libedgetpu1-std (coral.ai) installs it; EDGEFERRY_LIBEDGETPU names another file",
    ),
    "no device": (
        "EF-edgetpu-absent",
        "plug in an Edge TPU, end other programs that use it, and let this user access it (group plugdev or apex)",
    ),
    "runtime missing": ("EF-tflite-runtime-missing", "install a TF Lite runtime there"),
}
# Errors of the artifact or the runtime, as device.py names them.
CODES: Final = {"delegate refused": "EF-delegate-refused", "crashed": "EF-runtime-crashed"}


def run(job: Job, environment: Environment) -> Run:
    """Return the run of a job by an old runtime."""
    golden = read_order(job.reference, len(job.images()))
    order = [*golden, *range(len(golden), len(job.images()))]
    limits = {"longest_s": LONGEST_S, "enough": ENOUGH, "rounds": min(job.rounds, FEW_ROUNDS)}
    result = run_on_device(job, environment.python, order, **(limits if job.reference is not None else {}))
    ran = as_run(job, result, (job.work / SCORES).read_bytes())
    return in_order(ran, order, len(golden))


def in_order(run: Run, order: list[int], golden: int) -> Run:
    """Return a run of images in an order as one of the images themselves; where time ran out, of the golden ones that it had."""
    import numpy as np

    if len(run.scores) == len(order):
        back = np.argsort(order)
        return replace(run, scores=run.scores[back], stored=None if run.stored is None else run.stored[back])
    ran = tuple(order[: min(len(run.scores), golden)])
    stored = None if run.stored is None else run.stored[: len(ran)]
    return replace(run, scores=run.scores[: len(ran)], stored=stored, image_indices=ran)


def as_run(job: Job, result: Mapping[str, Any], scores: bytes) -> Run:
    """Return device.py's result, with the bytes of the .npy file it wrote, as a run.

    The integers are kept where TF Lite's own kernels or an Edge TPU computed them: XNNPACK rounds differently.
    """
    import numpy as np

    if result["delegate_partitions"] is None or "delegate" in result:
        delegate = result.get("delegate", "unknown")
    else:
        delegate = delegate_name(result["delegate_partitions"])
    stored = np.load(BytesIO(scores), allow_pickle=False)
    own_kernels = result["delegate_partitions"] == 0 or "delegate" in result
    return Run(
        scores=dequantized(stored, result["output"]),
        labels=labels_in(job.main_file),
        latencies_ms=tuple(result["latencies_ms"]),
        first_ms=result["first_ms"],
        load_ms=result["load_ms"],
        environment={
            **result["environment"],
            "threads": result["threads"],
            "delegate": delegate,
            "memory_bytes": result["memory_bytes"],
        },
        stored=stored if own_kernels and np.issubdtype(stored.dtype, np.integer) else None,
    )


def run_on_device(job: Job, python: Path, order: Sequence[int] | None = None, **options: Any) -> dict[str, Any]:
    """Return device.py's result of a job, run under another Python of this machine; ``options`` are further fields of the job.

    ``order`` holds the numbers of the images in the order to run them in, where it is not their own.

    Raises:
        Absent: there is no device, or its library is not installed.
        Unsupported: the runtime there is too old for the file.
        RuntimeError: the job failed otherwise.
    """
    import numpy as np

    job.work.mkdir(parents=True, exist_ok=True)
    # A copy, because a script's own folder comes first on its path.
    shutil.copyfile(HERE / "device.py", job.work / "device.py")
    images = job.images()
    np.save(job.work / "images.npy", normalise(images if order is None else images[order], job.artifact.preprocessing))
    files = {"model": str(job.main_file.resolve()), "images": "images.npy", "scores": SCORES, "result": "result.json"}
    how = {"warmup": job.warmup, "settle_s": job.settle_s, "rounds": job.rounds, "threads": job.threads}
    how["asks_for_quiet"] = job.asks_for_quiet
    write_json(job.work / "job.json", {**files, **how, **options})
    (job.work / "result.json").unlink(missing_ok=True)
    # Made absolute without following links: a virtual environment's Python is a link.
    run_program([python.absolute(), "-E", "-s", "device.py", "job.json"], job.work, may_end_with=(0, FAILED))
    return checked_result(job.work / "result.json")


def checked_result(path: Path) -> dict[str, Any]:
    """Return the result that device.py wrote, as ``checked`` does."""
    return checked(json.loads(path.read_text(encoding="utf-8")))


def checked(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result that holds no error.

    Raises:
        Absent: there is no device, library or runtime there.
        Unsupported: the runtime there is too old for the file.
        EdgeError: the delegate refused the file, or the process crashed.
        RuntimeError: it holds any other error.
    """
    if (error := result["error"]) is None:
        return result
    kind, where = error["kind"], result.get("environment", {})
    # With the library's own output; for a missing library, Python's finalizer prints a traceback of its own.
    printed = [] if kind == "library missing" else result.get("said", [])
    message = f"{kind}: {' '.join(' '.join([error['message'], *printed]).split())}"
    if kind in WHAT_IS_MISSING:
        code, advice = WHAT_IS_MISSING[kind]
        raise Absent(code, f"{message}; {advice}")
    if kind in CODES:
        raise EdgeError(CODES[kind], message)
    for pattern, sentence in TOO_NEW:
        if found := pattern.search(error["message"]):
            name = "{runtime} {version}".format(**where).replace("_", "-")
            raise Unsupported("EF-operation-too-new", f"{name} {sentence.format(*found.groups())}")
    raise RuntimeError(f"{kind}: {' '.join(error['message'].split())}")


def _target(name: str, summary: str, reads: str, environment: Environment) -> Target:
    return Target(
        name=name,
        summary=summary,
        reads=frozenset({reads}),
        missing=environment.missing,
        run=partial(run, environment=environment),
        versions=environment.versions,
        side_by_side=True,
    )


OLD_WHEELS: Final = "Linux, Python 3.7 to 3.9"
PACKAGES: Final = ("tflite-runtime", "tflrt")
BOARDS: Final = Environment(".venv-tflite-2.5", "make setup-old-runtimes", OLD_WHEELS, PACKAGES)
TARGETS = (
    _target(
        "tflite-runtime",
        "this CPU, by tflite-runtime 2.14",
        "tflite",
        Environment(".venv-tflite-2.14", "make install", "Linux, Python 3.9 to 3.11", PACKAGES),
    ),
    _target(
        "tflite-2.7",
        "this CPU, by tflite-runtime 2.7",
        "tflite-int8",
        Environment(".venv-tflite-2.7", "make setup-old-runtimes", OLD_WHEELS, PACKAGES),
    ),
    _target(
        "tflite-2.5",
        "this CPU, by the runtime of Coral boards",
        "tflite-int8",
        BOARDS,
    ),
)
