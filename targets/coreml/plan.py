# SPDX-License-Identifier: Apache-2.0
"""Core ML's compute plan: the device that it intends to run each operation on. A plan is a forecast, not a promise."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

# MLComputePlan exists since macOS 14.4 and iOS 17.4; source: developer.apple.com/documentation/coreml/mlcomputeplan.
MACOS: Final = (14, 4)
DEVICES: Final = {
    "MLCPUComputeDevice": "cpu",
    "MLGPUComputeDevice": "gpu",
    "MLNeuralEngineComputeDevice": "neural-engine",
}
NEURAL_ENGINE: Final = "neural-engine"


def compute_plan(compiled: Path, units: str, macos: tuple[int, ...]) -> dict[str, Any] | str:
    """Return the plan of a compiled package for compute units, or why it is unknown; no verdict depends on a plan."""
    if macos < MACOS:
        return f"unknown: needs macOS {MACOS[0]}.{MACOS[1]}"
    import coremltools
    from coremltools.models.compute_plan import MLComputePlan

    try:
        return summary(MLComputePlan.load_from_path(path=str(compiled), compute_units=coremltools.ComputeUnit[units]))
    except (RuntimeError, ValueError) as error:
        return f"unknown: {error}"


def summary(plan: Any) -> dict[str, Any]:
    """Return operations and estimated share of the cost by preferred device, and how many the Neural Engine could run.

    Constants are on no device. Raises ValueError where the plan is not that of an ML Program.
    """
    program = plan.model_structure.program
    if program is None:
        raise ValueError("the plan is not that of an ML Program")
    placed: Counter[str] = Counter()
    costs: defaultdict[str, float] = defaultdict(float)
    elsewhere: Counter[str] = Counter()
    able = 0
    for operation in _operations(program.functions["main"].block):
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is None:
            continue
        device = name_of(usage.preferred_compute_device)
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        placed[device] += 1
        costs[device] += 0.0 if cost is None else cost.weight
        able += NEURAL_ENGINE in {name_of(each) for each in usage.supported_compute_devices}
        if device != NEURAL_ENGINE:
            elsewhere[operation.operator_name] += 1
    return {
        "operations": dict(sorted(placed.items())),
        "estimated_cost": {device: round(share, 4) for device, share in sorted(costs.items())},
        "neural_engine": placed[NEURAL_ENGINE],
        "neural_engine_could": able,
        "elsewhere": dict(sorted(elsewhere.items())),
    }


def name_of(device: Any) -> str:
    """Return a compute device's name, by its class."""
    kind = type(device).__name__
    return DEVICES.get(kind, kind)


def _operations(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks or ():
            yield from _operations(inner)
