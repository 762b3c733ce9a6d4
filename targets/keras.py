# SPDX-License-Identifier: Apache-2.0
"""The Keras model itself and SavedModels, by TensorFlow on a CPU or a GPU: the reference of all exported artifacts."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.keras_loader import load_model
from edgeferry.models.loading.custom_module import OPTION
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.host import nvidia
from edgeferry.targets.host.installed import installs, needs, no_cuda, pip_installs, runtime, versions
from edgeferry.targets.saved_model_tensors import tensors
from edgeferry.targets.target import Absent, Job, Run, Session, Target, Unsupported
from edgeferry.targets.timing import run_of, timed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIGNATURE: Final = "serving_default"
INPUT: Final = "image"
# The same TensorFlow under either name.
DISTRIBUTIONS: Final = ("tensorflow", "tensorflow-cpu")
WITH_CUDA: Final = "tensorflow[and-cuda]"


def _run(job: Job, device: str = "CPU") -> Run:
    return run_of(_open(job, device), job)


def _open(job: Job, device: str = "CPU") -> Session:
    import keras  # noqa: F401 - so that its import is not part of the loading time
    import numpy as np
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "GPU" and not gpus:
        raise Unsupported(
            "EF-gpu-not-found",
            f"TensorFlow finds no GPU here; {pip_installs(WITH_CUDA)} installs a TensorFlow with CUDA",
        )
    tf.config.set_visible_devices(gpus[:1] if device == "GPU" else [], "GPU")
    tf.config.experimental.enable_tensor_float_32_execution(False)  # noqa: FBT003 - TensorFlow's own
    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    load_ms, predict = timed(lambda: _loaded(job))

    def ready(image: "NDArray[np.float32]") -> "Callable[[], NDArray[np.generic]]":
        tensor = tf.constant(image)
        return lambda: np.asarray(predict(tensor))

    return Session(
        ready=ready,
        as_scores=lambda scores: scores.astype(np.float32),
        labels=None,
        load_ms=load_ms,
        environment={
            **runtime(*DISTRIBUTIONS),
            "threads": job.threads,
            "device": device,
            **(nvidia.environment() if device == "GPU" else {}),
        },
        takes_batches=True,
    )


def _loaded(job: Job) -> Callable[[Any], Any]:
    import tensorflow as tf

    if job.artifact.kind == "keras":
        model = _model(job)
        # Not predict(), which spends milliseconds per call on its own loop.
        # Traced for one image; batches of all sizes share a second trace.
        compiled: Callable[[Any], Any] = tf.function(lambda image: model(image, training=False), reduce_retracing=True)
        return compiled
    signature = tf.saved_model.load(str(job.main_file.parent)).signatures[SIGNATURE]

    def predict(image: Any) -> Any:
        (scores,) = signature(**{INPUT: image}).values()
        return scores

    return predict


def _model(job: Job) -> Any:
    try:
        return load_model(job.main_file, job.code)
    except EdgeError as error:
        if error.code != "EF-model-custom-class" or job.code is not None:
            raise
        raise Absent(error.code, f"its Keras file needs code that is run only where {OPTION} names it") from None


TARGETS = (
    Target(
        name="keras",
        summary="this CPU, by TensorFlow",
        reads=frozenset({"keras", "savedmodel"}),
        missing=needs("tensorflow"),
        run=_run,
        versions=versions(*DISTRIBUTIONS, "keras", "numpy"),
        side_by_side=True,
        open=_open,
        tensors=tensors,
    ),
    Target(
        name="keras-gpu",
        summary="an NVIDIA GPU, by TensorFlow",
        reads=frozenset({"keras", "savedmodel"}),
        missing=lambda: no_cuda(f"{installs('tensorflow')}, then {pip_installs(WITH_CUDA)}"),
        run=partial(_run, device="GPU"),
        versions=versions(*DISTRIBUTIONS, "keras", "numpy"),
        by_default=False,
        open=partial(_open, device="GPU"),
    ),
)
