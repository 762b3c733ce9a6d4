# SPDX-License-Identifier: Apache-2.0
"""Energy: millijoules per inference, idle power included."""

from typing import Final

from edgeferry.benchmarks.latency.costs.calls import count_calls, first_image, image_for, runs_on_gpu
from edgeferry.benchmarks.latency.costs.cost import Cost, CostNumbers
from edgeferry.benchmarks.latency.costs.power import power_drawn
from edgeferry.benchmarks.latency.loaded import opener
from edgeferry.targets.target import Job

# The key of a case's environment that names the meter: RAPL, NVML, RAPL and NVML, INA or powermetrics.
METER: Final = "power_meter"


def measure_energy(target: str, job: Job) -> CostNumbers:
    """Return the energy of one inference; None where this machine has no power meter.

    Raises:
        EdgeError: the target cannot run it.
    """
    session = opener(target)(job)
    infer = session.ready(image_for(session, first_image(job)))
    infer()
    with power_drawn(by_gpu=runs_on_gpu(session)) as power:
        count, took_s = count_calls(infer)
    if power.watts is None or power.meter is None:
        return CostNumbers({"energy_mj": None})
    return CostNumbers({"energy_mj": 1000 * power.watts * took_s / count}, {METER: power.meter})


COSTS = (
    Cost(
        name="energy_mj",
        title="energy",
        unit="mJ",
        meaning=(
            "per inference, idle power included, as the meter counts it: the processor (RAPL, powermetrics), the GPU (NVML) or "
            "the whole board (INA)"
        ),
        text=lambda number, case: f"{number:.3g} mJ ({case.environment.get(METER, 'reported by the target')})",
        measure=measure_energy,
    ),
)
