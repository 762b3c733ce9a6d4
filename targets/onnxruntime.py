# SPDX-License-Identifier: Apache-2.0
"""ONNX files on this machine's CPU, by ONNX Runtime."""

import json
from typing import TYPE_CHECKING, Any, Final

from targets.installed import needs, runtime, versions
from targets.target import Job, Run, Session, Target
from targets.timing import run_of, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

INPUT: Final = "image"
PROVIDER: Final = "CPUExecutionProvider"


def _run(job: Job) -> Run:
    return run_of(_open(job), job)


def _open(job: Job) -> Session:
    from onnxruntime import InferenceSession

    options = _options(job.threads)
    load_ms, session = timed(lambda: InferenceSession(job.main_file, options, providers=[PROVIDER]))
    if session.get_providers() != [PROVIDER]:
        raise RuntimeError(f"{PROVIDER} was asked for, {', '.join(session.get_providers())} is what ran")

    def ready(image: "NDArray[np.float32]") -> "Callable[[], NDArray[np.generic]]":
        return lambda: session.run(None, {INPUT: image})[0]

    return Session(
        ready=ready,
        as_scores=lambda scores: scores.astype("float32"),
        labels=_labels(session),
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
        open=_open,
    ),
)
