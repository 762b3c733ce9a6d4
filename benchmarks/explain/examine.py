# SPDX-License-Identifier: Apache-2.0
"""What needs the Keras model: images changed as an artifact may see them, and layers; called in a child process."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.explain.inputs import input_fits
from edgeferry.benchmarks.explain.layers import Layers, measured_layers
from edgeferry.benchmarks.explain.outputs import Fit
from edgeferry.exporters import worker
from edgeferry.exporters.graph.run import running
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import probabilities_of
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job, targets

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from edgeferry.benchmarks.explain.inputs import Tried
    from edgeferry.exporters.graph.source import Source

    Array = NDArray[np.float32]

PICTURES: Final = "explain.npy"


@dataclass(frozen=True)
class Request:
    """An artifact in a folder, its probabilities for some golden images, their numbers, and the target that shows its layers."""

    spec: ModelSpec
    build: Path
    folder: Path
    target: str
    work: Path
    images: tuple[int, ...]
    found: "Array"


@dataclass(frozen=True)
class Examined:
    """Hypotheses about the input with their fit, and the layers, or why they were not measured."""

    fits: tuple[Fit, ...]
    layers: Layers | None
    problem: str = ""


def examine(request: Request) -> Examined:
    """Return what the Keras model says of an artifact's difference."""
    worker.quieten()
    import numpy as np

    from edgeferry.models.reference import PIXELS

    source = worker.source_of(request.spec, request.build)
    job = Job(request.folder, request.work / PICTURES, request.work)
    np.save(job.pixels, np.load(source.folder / PIXELS, mmap_mode="r")[list(request.images)])
    images = normalise(job.images(), request.spec.preprocessing)
    tried: list[Tried] = []
    if np.isfinite(request.found).all():
        with running(source.graph_of(None if source.single is None else 1), source.output) as run:
            tried = list(input_fits(images, request.found, _predicting(run, source), request.spec.preprocessing))
    fits = tuple(fit for fit, _ in tried)
    show = targets()[request.target].tensors
    if show is None:
        return Examined(fits, None, f"{request.target} does not show what it computes in between")
    try:
        shown = show(job)
        shown = replace(shown, kernels=shown.kernels or request.target)
        layers = measured_layers(source, job, shown, [changed for _, changed in tried])
    except EdgeError as error:
        return Examined(fits, None, str(error))
    if layers.left_in_first:
        fits = tuple(replace(fit, left_in_layer=left) for fit, left in zip(fits, layers.left_in_first, strict=True))
    return Examined(fits, layers)


def _predicting(run: "Callable[[Array], Array]", source: "Source") -> "Callable[[Array], Array]":
    import numpy as np

    def predict(images: "Array") -> "Array":
        inputs = np.asarray(images, np.float32)
        batches: list[Any] = [inputs] if source.single is None else list(inputs[:, None])
        return probabilities_of(np.concatenate([run(batch) for batch in batches]), source.output)

    return predict
