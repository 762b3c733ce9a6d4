# SPDX-License-Identifier: Apache-2.0
"""ONNX files on this machine's CPU, by ONNX Runtime."""

import json
from typing import TYPE_CHECKING, Any, Final

from targets.installed import needs, runtime, versions
from targets.target import Job, Run, Target
from targets.timing import answer_and_time, normalised_images, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

INPUT: Final = "image"
PROVIDER: Final = "CPUExecutionProvider"


def _run(job: Job) -> Run:
    import numpy as np
    from onnxruntime import InferenceSession

    options = _options(job.threads)
    load_ms, session = timed(lambda: InferenceSession(job.main_file, options, providers=[PROVIDER]))
    if session.get_providers() != [PROVIDER]:
        raise RuntimeError(f"{PROVIDER} was asked for, {', '.join(session.get_providers())} is what ran")

    def ready(image: "NDArray[np.float32]") -> "Callable[[], NDArray[np.float32]]":
        return lambda: session.run(None, {INPUT: image})[0]

    measured = answer_and_time(ready, normalised_images(job), job)
    return Run(
        scores=np.concatenate(measured.answers).astype(np.float32),
        labels=_labels(session),
        latencies_ms=measured.latencies_ms,
        first_ms=measured.first_ms,
        load_ms=load_ms,
        environment={**runtime("onnxruntime"), "threads": job.threads, "provider": PROVIDER},
    )


def _options(threads: int) -> Any:
    from onnxruntime import SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between calls slow whatever is measured next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _labels(session: Any) -> tuple[str, ...] | None:
    told = session.get_modelmeta().custom_metadata_map.get("labels")
    return None if told is None else tuple(json.loads(told))


TARGETS = (
    Target(
        name="onnxruntime-cpu",
        summary="this CPU, by ONNX Runtime",
        reads=frozenset({"onnx"}),
        missing=needs("onnxruntime"),
        run=_run,
        versions=versions("onnxruntime", "numpy"),
    ),
)
