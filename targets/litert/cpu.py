# SPDX-License-Identifier: Apache-2.0
"""TF Lite files on this machine's CPU, by LiteRT, the current runtime, with its default XNNPACK kernels."""

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from edgeferry.targets.host.installed import needs, runtime, versions
from edgeferry.targets.litert.arena import arena_bytes
from edgeferry.targets.litert.profile import profile
from edgeferry.targets.litert.tensors import tensors
from edgeferry.targets.litert.tflite_file import delegate_name, dequantized, labels_in, quantized
from edgeferry.targets.target import Job, Run, Session, Target
from edgeferry.targets.timing import run_of, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

DISTRIBUTION: Final = "ai-edge-litert"


def _run(job: Job) -> Run:
    return run_of(_open(job), job)


def _open(job: Job) -> Session:
    return opened(job)


def opened(job: Job, **options: Any) -> Session:
    """Return a session of LiteRT's interpreter; ``options`` are further options of the interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    model = {"model_path": str(job.main_file), "num_threads": job.threads}
    load_ms, interpreter = timed(lambda: _allocated(Interpreter(**model, **options)))
    takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def ready(image: "NDArray[np.float32]") -> "Callable[[], NDArray[np.generic]]":
        interpreter.set_tensor(takes["index"], quantized(image, takes))
        return invoke

    def invoke() -> "NDArray[np.generic]":
        interpreter.invoke()
        copied: NDArray[np.generic] = interpreter.get_tensor(gives["index"])
        return copied

    return Session(
        ready=ready,
        as_scores=partial(dequantized, tensor=gives),
        labels=labels_in(job.main_file),
        load_ms=load_ms,
        environment={**runtime(DISTRIBUTION), "threads": job.threads, **_delegated(interpreter)},
    )


def _allocated(interpreter: Any) -> Any:
    interpreter.allocate_tensors()
    return interpreter


def _delegated(interpreter: Any) -> dict[str, Any]:
    """Return which delegate took parts of the graph, how many operations there are, and how many of them it took."""
    # Read from the interpreter, not assumed: XNNPACK takes only the operations it knows. There is no public function for it.
    listed = interpreter._get_ops_details()  # noqa: SLF001
    parts = [each for each in listed if each["op_name"] == "DELEGATE"]
    # Operations that a delegate took stay in the list: they lead from the part's outputs back to its inputs.
    operations = [each for each in listed if each["op_name"] != "DELEGATE"]
    makers = {int(tensor): at for at, each in enumerate(operations) for tensor in each["outputs"]}
    taken: set[int] = set()
    for part in parts:
        open_ends, given = [int(tensor) for tensor in part["outputs"]], {int(tensor) for tensor in part["inputs"]}
        while open_ends:
            tensor = open_ends.pop()
            at = makers.get(tensor)
            if at is not None and tensor not in given and at not in taken:
                taken.add(at)
                open_ends += [int(each) for each in operations[at]["inputs"]]
    return {"delegate": delegate_name(len(parts)), "nodes": len(operations), "delegated_nodes": len(taken)}


TARGETS = (
    Target(
        name="litert",
        summary="this CPU, by LiteRT",
        reads=frozenset({"tflite"}),
        missing=needs("ai_edge_litert"),
        run=_run,
        versions=versions(DISTRIBUTION, "numpy"),
        side_by_side=True,
        open=_open,
        profile=profile,
        arena=arena_bytes,
        tensors=tensors,
    ),
)
