# SPDX-License-Identifier: Apache-2.0
"""What software-rendered GPUs run where nobody asked for them by name: each graph once, and not for longer than a minute in all.

A processor that plays a GPU takes a hundred times as long as the same processor does otherwise, and one graph with weights of
another precision shows the same shaders again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.exporters.readers.reader import readers
from edgeferry.models.artifact import Artifact
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Target

# After that no second graph on any: the first on each of four runs in any case, 25 to 40 s of EfficientNet-Lite0.
MOST_S: Final = 60.0
FULL_PRECISION: Final = "float32"


@dataclass
class SoftwareGpus:
    """What ran on software-rendered GPUs so far: the seconds it took, and the first format of each graph by target."""

    build: Path
    seconds: float = 0.0
    ran: dict[str, list[Artifact]] = field(default_factory=dict)

    def why_not(self, target: Target, artifact: Artifact) -> Verdict | None:
        """Return the verdict that an artifact need not run on a target, or None where it should."""
        if target.name not in self.ran:
            return None
        how = f"`--target {target.name}` runs it"
        same = next((each for each in self.ran[target.name] if self._operations(each) == self._operations(artifact)), None)
        if same is not None:
            return Verdict("not run", f"the GPU is software-rendered, and ran {same.format}, the same operations; {how}")
        if self.seconds > MOST_S:
            return Verdict("not run", f"the GPU is software-rendered, and {MOST_S:.0f} s were spent on such; {how}")
        return None

    def record(self, target: Target, artifact: Artifact, environment: Mapping[str, Any], seconds: float = 0.0) -> None:
        """Take note of a run by what it says of its environment, made in so many seconds or known from an earlier run."""
        if environment.get("software_gpu"):
            self.ran.setdefault(target.name, []).append(artifact)
            self.seconds += seconds

    def _operations(self, artifact: Artifact) -> object:
        """Return what an artifact computes, apart from its weights; what cannot be read is like nothing else."""
        reader = readers().get(artifact.kind)
        try:
            found = reader.read(self.build / artifact.format / artifact.main_file) if reader else None
        except EdgeError:
            found = None
        return artifact.format if found is None else (found.kind, found.operations, found.inputs[0].dtype)


def is_full_precision(artifact: Artifact) -> bool:
    """Return whether an artifact stores and computes in float32: it runs before those of the same graph that do not."""
    return artifact.precision == FULL_PRECISION
