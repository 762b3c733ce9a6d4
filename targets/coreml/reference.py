# SPDX-License-Identifier: Apache-2.0
"""Core ML packages on any machine, evaluated from the specification of their operations: for parity, not for Core ML's speed.

It proves graph, weights, layout, preprocessing, labels and declared shapes. It does not prove Apple's kernels, which unit of a
device computes what, and how fast.
"""

from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.coreml_messages import CARRIER, folder
from edgeferry.targets.coreml.pictures import pictures
from edgeferry.targets.coreml.tensors import tensors
from edgeferry.targets.host.installed import installs, needs, versions
from edgeferry.targets.target import Job, Run, Session, Target
from edgeferry.targets.timing import run_of, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

EXACT: Final = "float32, evaluated from its specification; not Core ML"
EMULATED: Final = "emulated float16, evaluated from its specification; not Core ML, not the Neural Engine"
# Accelerator names on the command line: whether each result is rounded as declared.
ARITHMETIC: Final = {None: True, "float16": True, "float32": False}

# What computes besides numpy, and the extra that brings it.
COMPUTES: Final = ("scipy", "PIL")
EXTRA: Final = "check-coreml"


def _missing() -> str | None:
    if needs(CARRIER)() is not None:
        return f"{needs(CARRIER, EXTRA)()} (only its protobuf messages are used, no converter)"
    if why := next(filter(None, (needs(module, EXTRA)() for module in COMPUTES)), None):
        return why
    if folder() is not None:
        return None
    return f"the installed coremltools has no protobuf messages: {installs(CARRIER)} installs 9.0"


def _run(job: Job) -> Run:
    return run_of(_open(job), job)


def _open(job: Job) -> Session:
    """Return a session whose calls include neither the layout of the picture nor the reading of the package."""
    import numpy as np

    from edgeferry.targets.mil.memory import keep_memory
    from edgeferry.targets.mil.package import open_package
    from edgeferry.targets.mil.program import labels_of, read_program
    from edgeferry.targets.mil.threads import blas_threads

    if job.accelerator not in ARITHMETIC:
        known = ", ".join(name for name in ARITHMETIC if name)
        raise ValueError(f"the evaluator has no accelerator {job.accelerator!r}; expected one of {known}")
    threads = blas_threads(job.threads)
    keep_memory()
    package = open_package(job.main_file)
    load_ms, program = timed(lambda: read_program(package, rounds_to_float16=ARITHMETIC[job.accelerator]))
    name, labels, output = package.inputs[0].name, labels_of(package), package.probabilities

    def ready(picture: "NDArray[np.float32]") -> "Callable[[], NDArray[np.generic]]":
        return lambda: _scores(program.evaluated({name: picture}), output, labels)[np.newaxis]

    rounded = program.rounds_to_float16 and program.declares_float16
    return Session(
        ready=ready,
        as_scores=lambda scores: scores.astype(np.float32),
        labels=labels,
        load_ms=load_ms,
        images=pictures(job, package),
        environment={
            "runtime": "edgeferry evaluator of ML Programs",
            "version": np.__version__,
            "arithmetic": EMULATED if rounded else EXACT,
            "threads": threads,
        },
    )


def _scores(outputs: "dict[str, Any]", output: str, labels: tuple[str, ...] | None) -> "NDArray[np.float32]":
    """Return the probabilities in the order of the labels; without labels, the one output."""
    import numpy as np

    if labels is None:
        return np.asarray(next(iter(outputs.values())), np.float32).ravel()
    probabilities = outputs[output]
    return np.array([probabilities[label] for label in labels], np.float32)


TARGETS = (
    Target(
        name="coreml-reference",
        summary="any CPU, evaluates ML Programs by their specification; not Core ML",
        reads=frozenset({"coreml"}),
        missing=_missing,
        run=_run,
        versions=versions(CARRIER, "numpy", "protobuf", "scipy"),
        side_by_side=True,
        open=_open,
        tensors=tensors,
    ),
)
