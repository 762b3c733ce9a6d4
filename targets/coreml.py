# SPDX-License-Identifier: Apache-2.0
"""Core ML packages on a Mac, by Core ML itself."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from targets.installed import needs, runtime, versions
from targets.target import Job, Run, Target
from targets.timing import answer_and_time, timed

if TYPE_CHECKING:
    from PIL.Image import Image

# What an accelerator's name on the command line means to Core ML; by default Core ML chooses.
COMPUTE_UNITS: Final = {None: "ALL", "cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "neural-engine": "CPU_AND_NE"}


def _missing() -> str | None:
    if sys.platform != "darwin":
        return "needs macOS, Core ML is nowhere else: run `make install` and the same command on a Mac"
    return needs("coremltools")()


def _run(job: Job) -> Run:
    """Return a run whose times include handing the picture over, as they do in an app."""
    import coremltools
    import numpy as np

    if job.accelerator not in COMPUTE_UNITS:
        known = ", ".join(name for name in COMPUTE_UNITS if name)
        raise ValueError(f"Core ML has no accelerator {job.accelerator!r}; expected one of {known}")
    units = COMPUTE_UNITS[job.accelerator]
    load_ms, model = timed(lambda: coremltools.models.MLModel(str(job.main_file), compute_units=coremltools.ComputeUnit[units]))
    spec = model.get_spec()
    image, probabilities, labels = spec.description.input[0].name, spec.description.predictedProbabilitiesName, labels_in(spec)

    def ready(picture: "Image") -> Callable[[], dict[str, float]]:
        return lambda: model.predict({image: picture})[probabilities]

    measured = answer_and_time(ready, _pictures(job), job)
    return Run(
        scores=np.array([[answer[label] for label in labels] for answer in measured.answers], np.float32),
        labels=labels,
        latencies_ms=measured.latencies_ms,
        first_ms=measured.first_ms,
        load_ms=load_ms,
        environment={**runtime("coremltools"), "compute_units": units, "system": _system()},
    )


def labels_in(spec: Any) -> tuple[str, ...]:
    """Return the class labels that an ML Program's classify operation holds, in the order of its scores.

    Raises:
        RuntimeError: the program has no such operation.
    """
    block = spec.mlProgram.functions["main"]
    operations = block.block_specializations[block.opset].operations
    constants = {operation.outputs[0].name: operation for operation in operations if operation.type == "const"}
    classify = next((operation for operation in operations if operation.type == "classify"), None)
    if classify is None:
        raise RuntimeError("the package holds no class labels: its program has no classify operation")
    classes = classify.inputs["classes"].arguments[0]
    value = classes.value if classes.HasField("value") else constants[classes.name].attributes["val"]
    return tuple(each.immediateValue.tensor.strings.values[0] for each in value.immediateValue.list.values)


def _pictures(job: Job) -> "list[Image]":
    from PIL import Image

    pixels, how = job.images(), job.artifact.preprocessing
    if how.channels == 1:
        return [Image.fromarray(image[..., 0]) for image in pixels]
    # A picture is RGB; a package made for BGR turns it itself.
    return [Image.fromarray(image[..., ::-1] if how.colour == "bgr" else image) for image in pixels]


def _system() -> str:
    import platform

    return f"macOS {platform.mac_ver()[0]} {platform.machine()}"


TARGETS = (
    Target(
        name="coreml",
        summary="a Mac, by Core ML",
        reads=frozenset({"coreml"}),
        missing=_missing,
        run=_run,
        versions=versions("coremltools", "numpy", "pillow"),
    ),
)
