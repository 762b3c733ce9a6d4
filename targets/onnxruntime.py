# SPDX-License-Identifier: Apache-2.0
"""ONNX files by ONNX Runtime: on this machine's CPU, and by the execution providers of other wheels and devices."""

import json
import re
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.targets.host import nvidia
from edgeferry.targets.host.installed import installs, is_checkout, needs, no_cuda, pip_installs, versions
from edgeferry.targets.host.stderr import captured_stderr
from edgeferry.targets.onnx_tensors import tensors
from edgeferry.targets.target import Job, OperationTime, Run, Session, Target, Unsupported
from edgeferry.targets.timing import normalised_images, run_of, timed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INPUT: Final = "image"
CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
ON_CUDA: Final = frozenset({CUDA, TENSORRT})
PROFILED_CALLS: Final = 30
WARM_CALLS: Final = 10
LOGGED: Final = {"info": 1, "warning": 2}
# bfc_arena.cc logs this whenever the arena grows.
ARENA: Final = re.compile(r"Total allocated bytes: (\d+)")
# In ONNX Runtime's log, the loader of shared libraries names the missing one.
NOT_LOADED: Final = re.compile(r"with error: ([^\n]*)")
DISTRIBUTIONS: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


@dataclass(frozen=True)
class _Provider:
    """An execution provider: the library that a wheel has for it, how to install that wheel, and the provider's options."""

    name: str
    library: str
    wheel: Callable[[], str]
    options: Mapping[str, str] = field(default_factory=dict)
    system: str = sys.platform

    def missing(self) -> str | None:
        """Return why it cannot run here, or None."""
        if self.system != sys.platform:
            return f"needs macOS, the only system with Core ML: {installs('onnxruntime')} and run the same command on a Mac"
        if self.name in ON_CUDA and (why := no_cuda(self.wheel())):
            return why
        if why := needs("onnxruntime")():
            return why
        folders = getattr(find_spec("onnxruntime"), "submodule_search_locations", None) or []
        if not [found for folder in folders for found in (Path(folder) / "capi").glob(self.library)]:
            return f"the installed onnxruntime has no {self.name}; {self.wheel()}"
        return None


def _run(job: Job, provider: str = CPU, provider_options: Mapping[str, str] | None = None, *, optimized: bool = True) -> Run:
    return run_of(_open(job, provider, provider_options, optimized=optimized), job)


def _open(job: Job, provider: str = CPU, provider_options: Mapping[str, str] | None = None, *, optimized: bool = True) -> Session:
    import onnxruntime

    options = _options(job.threads)
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = [(provider, dict(provider_options or {}))]
    with nullcontext([""]) if provider == CPU else captured_stderr() as log:
        if provider in ON_CUDA:
            # Otherwise the CUDA libraries that pip installs are not found.
            onnxruntime.preload_dlls()
        load_ms, session = timed(lambda: onnxruntime.InferenceSession(job.main_file, options, providers=wanted))
    if session.get_providers()[0] != provider:
        # It falls back to the CPU with a warning where a CUDA library or a device is missing.
        why = NOT_LOADED.search("".join(log))
        raise Unsupported(
            "EF-provider-not-started",
            f"{provider} was requested, but {', '.join(session.get_providers())} ran: {provider} did not start here"
            + (f": {why[1].strip()}" if why else ""),
        )

    def ready(image: "NDArray[np.float32]") -> "Callable[[], NDArray[np.generic]]":
        return lambda: session.run(None, {INPUT: image})[0]

    return Session(
        ready=ready,
        as_scores=lambda scores: scores.astype("float32"),
        labels=_labels(session),
        load_ms=load_ms,
        environment={
            # The name that the module reports: several wheels contain it, and may be installed over each other.
            "runtime": onnxruntime.package_name,
            "version": onnxruntime.__version__,
            "threads": job.threads,
            "provider": provider,
            "optimized": optimized,
            **(nvidia.environment() if provider in ON_CUDA else {}),
            **_assigned(session, provider),
        },
        takes_batches=not isinstance(session.get_inputs()[0].shape[0], int),
    )


def _profile(job: Job) -> list[OperationTime]:
    """Return the nodes of the optimised graph in the order in which they run, each with its mean milliseconds per inference."""
    from onnxruntime import InferenceSession

    options = _options(job.threads)
    options.enable_profiling, options.profile_file_prefix = True, str(job.work / "profile")
    session = InferenceSession(job.main_file, options, providers=[CPU])
    image = normalised_images(job)[0]
    for _ in range(WARM_CALLS + PROFILED_CALLS):
        session.run(None, {INPUT: image})
    written = Path(session.end_profiling())
    events = json.loads(written.read_text(encoding="utf-8"))
    written.unlink()
    times: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            times.setdefault((name, event["args"]["op_name"]), []).append(event["dur"] / 1000)
    return [OperationTime(*node, statistics.fmean(taken[WARM_CALLS:])) for node, taken in times.items()]


def _arena_bytes(job: Job) -> int | None:
    """Return the bytes of ONNX Runtime's arena, including the weights that it keeps there, from its log; or None."""
    from onnxruntime import InferenceSession, set_default_logger_severity

    image = normalised_images(job)[0]
    set_default_logger_severity(LOGGED["info"])
    try:
        with captured_stderr() as log:
            session = InferenceSession(job.main_file, _options(job.threads), providers=[CPU])
            # The arena of the second inference is laid out by what the first one needed.
            for _ in range(2):
                session.run(None, {INPUT: image})
    finally:
        set_default_logger_severity(LOGGED["warning"])
    return max(map(int, ARENA.findall("".join(log))), default=None)


def _options(threads: int) -> Any:
    from onnxruntime import SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between calls slow down whatever is measured next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _assigned(session: Any, provider: str) -> dict[str, int]:
    """Return how many nodes the graph has and how many of them the provider took, where ONNX Runtime reports it."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    nodes = Counter[str]()
    for part in session.get_provider_graph_assignment_info():
        nodes[part.ep_name] += len(part.get_nodes())
    if provider != CPU and not nodes[provider]:
        raise Unsupported(
            "EF-provider-unused", f"{provider} took none of the {nodes.total()} nodes of this file; the CPU would run them all"
        )
    return {"nodes": nodes.total(), "delegated_nodes": nodes[provider]}


def _labels(session: Any) -> tuple[str, ...] | None:
    labels = session.get_modelmeta().custom_metadata_map.get("labels")
    return None if labels is None else tuple(json.loads(labels))


def _target(name: str, summary: str, provider: _Provider, *, by_default: bool = False) -> Target:
    return Target(
        name=name,
        summary=summary,
        reads=frozenset({"onnx"}),
        missing=provider.missing,
        run=partial(_run, provider=provider.name, provider_options=provider.options),
        versions=versions(*DISTRIBUTIONS, "numpy"),
        by_default=by_default,
        open=partial(_open, provider=provider.name, provider_options=provider.options),
    )


def _gpu_wheel() -> str:
    command = "`make setup-gpu`" if is_checkout() else "`pip uninstall onnxruntime && pip install 'edgeferry[gpu]'`"
    return f"{command} installs it, in place of onnxruntime"


def _openvino_wheel() -> str:
    return f"{pip_installs('onnxruntime-openvino')} installs it, in place of onnxruntime"


LIBRARY: Final = "libonnxruntime_providers_{}.so"
TARGETS = (
    Target(
        name="onnxruntime-cpu",
        summary="this CPU, by ONNX Runtime",
        reads=frozenset({"onnx"}),
        missing=needs("onnxruntime"),
        run=_run,
        versions=versions(*DISTRIBUTIONS, "numpy"),
        side_by_side=True,
        open=_open,
        profile=_profile,
        arena=_arena_bytes,
        tensors=tensors,
    ),
    Target(
        name="onnxruntime-unoptimized",
        summary="this CPU, by ONNX Runtime, node by node as the file says",
        reads=frozenset({"onnx"}),
        missing=needs("onnxruntime"),
        run=partial(_run, optimized=False),
        versions=versions(*DISTRIBUTIONS, "numpy"),
        by_default=False,
        side_by_side=True,
        open=partial(_open, optimized=False),
    ),
    _target(
        "onnxruntime-cuda",
        "an NVIDIA GPU, by ONNX Runtime",
        # Tensor cores round float32 to 10 bits of fraction where TF32 is on, which it is by default.
        _Provider(CUDA, LIBRARY.format("cuda"), _gpu_wheel, {"use_tf32": "0"}),
        by_default=True,
    ),
    _target(
        "onnxruntime-tensorrt",
        "an NVIDIA GPU, by TensorRT under ONNX Runtime",
        _Provider(TENSORRT, LIBRARY.format("tensorrt"), lambda: f"{_gpu_wheel()}; TensorRT 10 comes from NVIDIA"),
    ),
    _target(
        "onnxruntime-openvino",
        "this CPU, by OpenVINO under ONNX Runtime",
        _Provider(
            "OpenVINOExecutionProvider",
            LIBRARY.format("openvino"),
            _openvino_wheel,
            {"device_type": "CPU", "precision": "FP32"},
        ),
    ),
    _target(
        "onnxruntime-coreml",
        "this Mac, by Core ML under ONNX Runtime",
        # The wheel for macOS has it built in.
        _Provider(
            "CoreMLExecutionProvider", "*.so", lambda: f"{installs('onnxruntime')} installs a wheel that has it", system="darwin"
        ),
    ),
)
