# SPDX-License-Identifier: Apache-2.0
"""The arena: the memory that a runtime plans for tensors."""

from edgeferry.benchmarks.latency.costs.cost import Cost, CostNumbers
from edgeferry.benchmarks.report.words import size
from edgeferry.targets.target import Job, targets


def measure_arena(target: str, job: Job) -> CostNumbers:
    """Return the bytes that a target's runtime plans for an artifact's tensors, None where it does not report them."""
    arena = targets()[target].arena
    return CostNumbers({"arena_bytes": None if arena is None else arena(job)})


COSTS = (
    Cost(
        name="arena_bytes",
        title="arena",
        unit="bytes",
        meaning=(
            "what the runtime plans for tensors; TF Lite's without what XNNPACK allocates itself, ONNX Runtime's with the "
            "weights that it keeps there"
        ),
        text=lambda number, _: size(number),
        measure=measure_arena,
    ),
)
