# SPDX-License-Identifier: Apache-2.0
"""The original itself and SavedModels, on this machine's CPU, by TensorFlow: what the exported copies are compared with."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from models.load import load_model
from targets.installed import needs, runtime, versions
from targets.target import Job, Run, Target
from targets.timing import answer_and_time, normalised_images, timed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIGNATURE: Final = "serving_default"
INPUT: Final = "image"
# The same TensorFlow under either name.
DISTRIBUTIONS: Final = ("tensorflow", "tensorflow-cpu")


def _run(job: Job) -> Run:
    import keras  # noqa: F401 - so that loading is timed without it
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    load_ms, predict = timed(lambda: _loaded(job))

    def ready(image: "NDArray[np.float32]") -> "Callable[[], NDArray[np.float32]]":
        tensor = tf.constant(image)
        return lambda: np.asarray(predict(tensor))

    with tf.device("/CPU:0"):
        measured = answer_and_time(ready, normalised_images(job), job)
    return Run(
        scores=np.concatenate(measured.answers).astype(np.float32),
        labels=None,
        latencies_ms=measured.latencies_ms,
        first_ms=measured.first_ms,
        load_ms=load_ms,
        environment={**runtime(*DISTRIBUTIONS), "threads": job.threads, "device": "CPU"},
    )


def _loaded(job: Job) -> Callable[[Any], Any]:
    import tensorflow as tf

    if job.artifact.kind == "keras":
        model = load_model(job.main_file)
        # Not predict(), which spends milliseconds a call on its own loop.
        compiled: Callable[[Any], Any] = tf.function(lambda image: model(image, training=False))
        return compiled
    signature = tf.saved_model.load(str(job.main_file.parent)).signatures[SIGNATURE]

    def predict(image: Any) -> Any:
        (scores,) = signature(**{INPUT: image}).values()
        return scores

    return predict


TARGETS = (
    Target(
        name="keras",
        summary="this CPU, by TensorFlow",
        reads=frozenset({"keras", "savedmodel"}),
        missing=needs("tensorflow"),
        run=_run,
        versions=versions(*DISTRIBUTIONS, "keras", "numpy"),
    ),
)
