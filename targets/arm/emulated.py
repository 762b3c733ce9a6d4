# SPDX-License-Identifier: Apache-2.0
"""The processors of boards, phones and ARM servers, emulated by QEMU: each runs the runtime that it has there.

Every kernel is the one that runs on the device, so that what holds here holds there; times mean nothing, and none is kept. Which
processor ran, and with TF Lite that it answers known questions rightly, was checked when it was set up.
"""

import json
import platform
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.golden.order import read_order
from edgeferry.models.preprocessing import normalise
from edgeferry.targets.arm.environments import FOLDER, HERE, RUNTIMES, ArmRuntime, emulator, is_checked
from edgeferry.targets.arm.processors import CORTEX_A7, CORTEX_A53, CORTEX_A72, CORTEX_A76, NEOVERSE_N1, Processor
from edgeferry.targets.boards.tflite_runtime import SCORES, as_run, in_order, run_on_device
from edgeferry.targets.host.installed import is_checkout
from edgeferry.targets.host.program import run_program
from edgeferry.targets.target import Job, Run, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

SET_UP: Final = "`make setup-arm` sets it up from Debian's packages"
# Of a large golden set what runs in so long, the images that show most first.
LONGEST_S: Final = 300.0
BY_NAME: Final = {runtime.name: runtime for runtime in RUNTIMES}


def missing(runtime: ArmRuntime, processor: Processor) -> str | None:
    """Return why a processor cannot be emulated here, or None."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "emulated on Linux on x86-64 only; an ARM machine needs no emulation: its own targets run there"
    if not is_checkout():
        return "the emulated processors are set up in a checkout of edgeferry, and this is an installed package: clone it"
    if emulator(runtime.root.architecture) is None or not runtime.program(processor).is_file():
        return f"there is no {FOLDER.name}/{runtime.name}: {SET_UP}"
    if not is_checked(runtime, processor):
        return f"QEMU or the runtime changed since {processor.qemu} was checked: `make setup-arm` checks it again"
    return None


def run(job: Job, runtime: ArmRuntime, processor: Processor) -> Run:
    """Return the run of a job on an emulated processor: once for every image, without times."""
    golden = read_order(job.reference, len(job.images()))
    order = [*golden, *range(len(golden), len(job.images()))]
    once = replace(job, warmup=0, rounds=1, settle_s=0.0, threads=1, asks_for_quiet=False)
    ran = _by_onnxruntime(once, runtime, processor, order) if runtime.name == "onnxruntime" else None
    if ran is None:
        limits = {"longest_s": LONGEST_S, "enough": 1} if job.reference is not None else {}
        result = run_on_device(once, runtime.program(processor), order, **limits)
        ran = as_run(once, result, (job.work / SCORES).read_bytes())
    about: dict[str, Any] = {"emulated": processor.qemu, "emulator": "QEMU, for parity only", "found_in": processor.found_in}
    found = in_order(ran, order, len(golden))
    return replace(found, latencies_ms=(), environment={**found.environment, **about})


def _by_onnxruntime(job: Job, runtime: ArmRuntime, processor: Processor, order: list[int]) -> Run:
    import numpy as np

    job.work.mkdir(parents=True, exist_ok=True)
    np.save(job.work / "images.npy", normalise(job.images()[order], job.artifact.preprocessing))
    arguments = [job.main_file.resolve(), job.work / "images.npy", job.work / SCORES, job.work / "about.json"]
    run_program([runtime.program(processor), "-E", "-s", HERE / "onnx_program.py", *arguments], job.work)
    scores: NDArray[np.float32] = np.load(job.work / SCORES, allow_pickle=False)
    about = json.loads((job.work / "about.json").read_text(encoding="utf-8"))
    return Run(scores, None, (), 0.0, 0.0, about)


def _target(name: str, summary: str, reads: str, runtime: str, processor: Processor) -> Target:
    its = BY_NAME[runtime]
    return Target(
        name=name,
        summary=f"{summary}, emulated: parity only, never timed",
        reads=frozenset({reads}),
        missing=partial(missing, its, processor),
        run=partial(run, runtime=its, processor=processor),
        versions=its.versions,
        side_by_side=True,
        timed=False,
    )


TARGETS = (
    _target("arm-a53-tflite-2.5", "Cortex-A53 with TF Lite 2.5 (Coral Dev Board)", "tflite-int8", "tflite-2.5", CORTEX_A53),
    _target("arm-a53-litert", "Cortex-A53 (Coral Dev Board, Raspberry Pi 3) with LiteRT", "tflite", "litert", CORTEX_A53),
    _target("arm-a72-litert", "Cortex-A72 (Raspberry Pi 4) with LiteRT", "tflite", "litert", CORTEX_A72),
    _target("arm-a76-litert", "Cortex-A76 (Raspberry Pi 5, phones; dot product) with LiteRT", "tflite", "litert", CORTEX_A76),
    _target("arm-neoverse-onnxruntime", "Neoverse N1 (ARM servers) with ONNX Runtime", "onnx", "onnxruntime", NEOVERSE_N1),
    _target("armv7-tflite", "Cortex-A7 (32-bit boards) with TF Lite 2.11", "tflite", "tflite-armv7", CORTEX_A7),
)
