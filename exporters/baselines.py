# SPDX-License-Identifier: Apache-2.0
"""What artifacts are compared with besides the reference: the model's constants, and what each precision should change."""

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.format import Format
from edgeferry.exporters.weights.constants import WEIGHTS, read_constants
from edgeferry.exporters.yardsticks import stale_yardsticks, write_yardsticks
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.exports import Exports
from edgeferry.models.reference import Reference
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.cores import cores_allowed
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, digest, files_below
from edgeferry.models.system.packages import installed_version
from edgeferry.models.system.subprocesses import kill_group
from edgeferry.models.system.terminal import Step
from edgeferry.models.yardstick import write_problem

CONSTANTS: Final = "edgeferry.exporters.graph.constants"
CONSTANTS_TOOLS: Final = ("tensorflow-cpu", "tensorflow", "keras")
SIMULATING: Final = "simulating what each precision alone should change"
# A second TensorFlow takes seconds of a core to start and to trace the model, more than a small network takes to simulate.
# These three are chosen on the safe side, not measured: memory for both processes, and so many copies of the model besides.
LEAST_BYTES: Final = 8 * 2**20
MEMORY_BYTES: Final = 5 * 2**30
COPIES: Final = 30


@dataclass(frozen=True)
class Work:
    """What all formats of one export share."""

    spec: ModelSpec
    build: Path
    child: Child
    step: Step
    sha256: Sha256
    code: CodeDigests
    known: Exports


def keep_constants(work: Work, reference: Reference) -> None:
    """Have the constants of the model's graph at hand; where that fails, the weights of artifacts are not checked."""
    folder, log = work.build / WEIGHTS, work.build / "weights.log"
    tools = {name: found for name in CONSTANTS_TOOLS if (found := installed_version(name))}
    key = digest([reference.sha256, reference.source_sha256, work.spec.options.fold_batchnorm, tools, work.code.of(CONSTANTS)])
    kept = read_constants(folder, work.sha256)
    if kept is not None and kept.key == key:
        return
    from edgeferry.exporters import preparation

    shutil.rmtree(folder, ignore_errors=True)
    try:
        work.child.call(preparation.keep, work.spec, work.build, key, log=log)
    except (EdgeError, ChildError) as error:
        work.step(f"the weights of artifacts cannot be checked, the model's constants were not kept: {error}")
    else:
        log.unlink(missing_ok=True)


@contextmanager
def simulated_beside(work: Work, forms: Sequence[Format], reference: Reference) -> Iterator[None]:
    """Have the yardsticks of formats computed by a process of its own while the body exports them, where that is faster."""
    stale = stale_yardsticks(work.spec, work.build, forms, reference, work.sha256) if _is_worth_a_process(work.spec) else {}
    if not stale:
        yield
        return
    with Child(network=False, with_keras=True) as child:
        child.start()
        thread = threading.Thread(target=_simulate, args=(work, child, stale), daemon=True)
        thread.start()
        try:
            yield
            if thread.is_alive():
                work.step(SIMULATING)
            thread.join()
        except BaseException:
            if child.pid is not None:
                kill_group(child.pid)
            thread.join()
            raise


def _is_worth_a_process(spec: ModelSpec) -> bool:
    import psutil

    files = files_below(spec.model) if spec.model.is_dir() else [spec.model]
    size = sum(path.stat().st_size for path in files)
    return size >= LEAST_BYTES and cores_allowed() > 1 and psutil.virtual_memory().available > MEMORY_BYTES + COPIES * size


def keep_yardsticks(work: Work, there: Sequence[Format], reference: Reference) -> None:
    """Compute what the precisions of the formats that are there should differ by; without it they are checked all the same."""
    if stale := stale_yardsticks(work.spec, work.build, there, reference, work.sha256):
        work.step(SIMULATING)
        _simulate(work, work.child, stale)


def _simulate(work: Work, child: Child, stale: dict[str, dict[str, Any]]) -> None:
    try:
        child.call(write_yardsticks, work.spec, work.build, stale, log=work.build / "yardstick.log")
    except (EdgeError, ChildError) as error:
        for precision in stale:
            # Without what it follows from: it is tried again by the next export.
            write_problem(work.build, precision, {}, str(error))
