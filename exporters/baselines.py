# SPDX-License-Identifier: Apache-2.0
"""What artifacts are compared with besides the reference: the model's constants, and what each precision should change."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeferry.exporters import preparation
from edgeferry.exporters.format import Format
from edgeferry.exporters.weights.constants import WEIGHTS, read_constants
from edgeferry.exporters.yardsticks import stale_yardsticks, write_yardsticks
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.exports import Exports
from edgeferry.models.reference import Reference
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, digest
from edgeferry.models.system.packages import installed_version
from edgeferry.models.system.terminal import Step
from edgeferry.models.yardstick import write_problem

CONSTANTS: Final = "edgeferry.exporters.graph.constants"
CONSTANTS_TOOLS: Final = ("tensorflow-cpu", "tensorflow", "keras")


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
    shutil.rmtree(folder, ignore_errors=True)
    try:
        work.child.call(preparation.keep, work.spec, work.build, key, log=log)
    except (EdgeError, ChildError) as error:
        work.step(f"the weights of artifacts cannot be checked, the model's constants were not kept: {error}")
    else:
        log.unlink(missing_ok=True)


def keep_yardsticks(work: Work, there: list[Format], reference: Reference) -> None:
    """Compute what the precisions of the formats that are there should differ by; without it they are checked all the same."""
    stale = stale_yardsticks(work.spec, work.build, there, reference, work.sha256)
    if not stale:
        return
    work.step("simulating what each precision alone should change")
    try:
        work.child.call(write_yardsticks, work.spec, work.build, stale, log=work.build / "yardstick.log")
    except (EdgeError, ChildError) as error:
        for precision in stale:
            # Without what it follows from: it is tried again by the next export.
            write_problem(work.build, precision, {}, str(error))
