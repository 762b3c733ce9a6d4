# SPDX-License-Identifier: Apache-2.0
"""What a reader of a case's times must know: what was seen, its likely cause and what to do; and a grade from that."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from edgeferry.benchmarks.latency.loaded import on_cpu
from edgeferry.benchmarks.latency.machine import State
from edgeferry.benchmarks.latency.ratio import LEAST_EFFECT
from edgeferry.benchmarks.latency.records import Case, Grade, TimingWarning
from edgeferry.benchmarks.latency.samples import FEWEST, drift, launches_apart, samples_needed, two_modes
from edgeferry.targets.target import integer_target

# A single thread that was scheduled for a smaller share of the wall time did not have a core to itself.
LEAST_SCHEDULED: Final = 0.9
MOSTLY_SCHEDULED: Final = 0.5
# Load of other processes and stolen time, in cores and as a share of all time, above which medians move (measured on 2 busy
# cores: absolute medians moved by 12 to 14 % at a load of 5 and more, by less than 2 % below 0.3).
OTHERS_LOAD: Final = 0.5
STOLEN_SHARE: Final = 0.02
# A processor above this is near where makers let it throttle, 95 to 105 degrees.
HOT_C: Final = 85.0
# NVIDIA's GPUs slow themselves down a little above it.
HOT_GPU_C: Final = 83.0
GPU_IDLE: Final = 0.05
# An H100 that runs now and then goes down to 345 of 1980 MHz, where a small network takes 1.3 times as long.
LEAST_CLOCK: Final = 0.9
# An interquartile range of a larger share of the median is wide.
WIDE: Final = 0.2

Finder = Callable[[Case, State, State, Mapping[str, Any]], Iterator[TimingWarning]]


def timing_warnings(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> list[TimingWarning]:
    """Return the warnings about a case's times, given the machine's states before and after the run."""
    return [warning for find in FINDERS for warning in find(case, before, after, machine)]


def grade(case: Case, warnings: Sequence[TimingWarning]) -> Grade:
    """Return "poor" with a serious warning or too few samples, "fair" with any other warning, "good" with none but notes."""
    severities = {warning.severity for warning in warnings}
    if "serious" in severities or len(case.samples_ms) < FEWEST:
        return "poor"
    return "fair" if "warning" in severities else "good"


def _machine(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[TimingWarning]:
    del case, before
    governor = machine.get("governor")
    if governor not in {None, "performance"}:
        yield TimingWarning(
            "machine",
            f"the CPU frequency governor is {governor}",
            "the clock changes while times are taken",
            "set it: `cpupower frequency-set -g performance`",
        )
    if machine.get("virtual"):
        yield TimingWarning("machine", "this is a virtual machine", "", "use its ratios, not its milliseconds", "note")
    if after.on_battery:
        yield TimingWarning("machine", "the machine runs on battery", "", "plug it in")


def _other_load(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[TimingWarning]:
    del case
    if before.load > OTHERS_LOAD:
        cores = machine.get("cores")
        yield TimingWarning(
            "other load",
            f"load average {before.load:.1f}{f' on {cores} cores' if cores else ''} before the run",
            "other processes were running",
            "end them, wait a minute and measure again",
        )
    total = after.busy_s + after.idle_s - before.busy_s - before.idle_s
    if before.stolen_s is not None and after.stolen_s is not None and total > 0:
        share = (after.stolen_s - before.stolen_s) / total
        if share > STOLEN_SHARE:
            yield TimingWarning(
                "other load",
                f"the hypervisor gave {100 * share:.0f} % of the time to other virtual machines",
                "a shared host",
                "measure on a dedicated machine, or when its neighbours are idle",
                "serious",
            )


def _heat(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[TimingWarning]:
    del case, machine
    if before.throttled is not None and after.throttled is not None and after.throttled > before.throttled:
        seen = f"the processor throttled {after.throttled - before.throttled} times"
        yield TimingWarning("heat", seen, "it is too hot", "cool it, or pause between runs", "serious")
    elif after.temperature_c is not None and after.temperature_c > HOT_C:
        yield TimingWarning(
            "heat", f"the processor was at {after.temperature_c:.0f} degrees", "", "cool it: it will throttle soon"
        )
    if before.frequency_mhz and after.frequency_mhz and abs(after.frequency_mhz / before.frequency_mhz - 1) > LEAST_EFFECT:
        seen = f"the processor's clock went from {before.frequency_mhz:.0f} to {after.frequency_mhz:.0f} MHz"
        yield TimingWarning("heat", seen, "frequency scaling or turbo", "fix it: governor performance, turbo off", "note")


def _gpu(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[TimingWarning]:
    del machine
    if "gpu" not in case.environment:
        return
    if before.gpu.busy is not None and before.gpu.busy > GPU_IDLE:
        seen = f"the GPU was busy {100 * before.gpu.busy:.0f} % of the time before the run"
        yield TimingWarning("GPU", seen, "other processes use it", "end them (`nvidia-smi` lists them)")
    clock_mhz, most_mhz = (case.environment.get(name) for name in ("clock_mhz", "most_clock_mhz"))
    if clock_mhz and most_mhz and clock_mhz < LEAST_CLOCK * most_mhz:
        yield TimingWarning(
            "GPU",
            f"the GPU's clock was at {clock_mhz} of {most_mhz} MHz",
            "it has little to do, so it saves power",
            "fix it (`nvidia-smi --lock-gpu-clocks`), or read the times as those of occasional inferences",
        )
    slowed = [moment.gpu.slowed_s for moment in (before, after)]
    if slowed[0] is not None and slowed[1] is not None and slowed[1] > slowed[0]:
        seen = f"the GPU slowed itself down for {slowed[1] - slowed[0]:.1f} s"
        yield TimingWarning("GPU", seen, "heat, or its power limit", "cool it, or pause between runs", "serious")
    elif after.gpu.temperature_c is not None and after.gpu.temperature_c > HOT_GPU_C:
        seen = f"the GPU was at {after.gpu.temperature_c:.0f} degrees"
        yield TimingWarning("GPU", seen, "", "cool it: it will slow down soon")


def _threads(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[TimingWarning]:
    del before, after
    cores = min(machine.get("cores") or case.threads, machine.get("cpu_quota") or float("inf"))
    if case.interleaved and case.threads > cores:
        seen = f"{case.threads} threads share {cores:g} cores"
        yield TimingWarning("threads", seen, "", "use --threads with at most the number of cores", "serious")


def _delegate(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[TimingWarning]:
    del before, after, machine
    nodes, taken = (case.environment.get(name) for name in ("nodes", "delegated_nodes"))
    if nodes and taken is not None and taken < nodes and case.target != integer_target().name:
        who = case.environment.get("provider") or str(case.environment.get("delegate", "the delegate")).partition(" (")[0]
        who = "a delegate" if who == "none" else who
        yield TimingWarning(
            "delegate",
            f"{who} took {taken} of {nodes} operations; the others ran on the runtime's own kernels",
            "it does not support them",
            "`edgeferry inspect` lists all operations",
            "note",
        )


def _scheduling(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[TimingWarning]:
    del before, after, machine
    share = scheduled_share(case.wall_ms, case.cpu_ms)
    if share is None or not on_cpu(case.environment):
        return
    if share < LEAST_SCHEDULED:
        yield TimingWarning(
            "scheduling",
            f"the process was scheduled {100 * share:.0f} % of the time",
            "other processes used its cores",
            "use its CPU time and ratios, or measure wall time on an idle machine",
            "warning" if share > MOSTLY_SCHEDULED else "serious",
        )
    if share > case.threads + 1 - LEAST_SCHEDULED:
        requested = f"{case.threads} thread{'s' if case.threads > 1 else ''}"
        seen = f"it used {share:.1f} cores with --threads {case.threads}"
        yield TimingWarning(
            "scheduling", seen, f"the runtime starts more than {requested}", "compare by wall time, on as many cores"
        )


def scheduled_share(wall_ms: Sequence[Sequence[float]], cpu_ms: Sequence[Sequence[float]]) -> float | None:
    """Return CPU time as a share of wall time: how long a single thread was scheduled; None where there is no CPU time."""
    return sum(map(sum, cpu_ms)) / sum(map(sum, wall_ms)) if cpu_ms else None


def _distribution(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[TimingWarning]:
    del before, after, machine
    if any(time <= 0 for time in case.samples_ms):
        seen, cause = "a time is not positive", "the clock was set back, or is too coarse"
        yield TimingWarning("distribution", seen, cause, "measure again", "serious")
        return
    if len(case.samples_ms) < FEWEST:
        seen, advice = f"there are only {len(case.samples_ms)} samples", f"take at least {samples_needed(90)}"
        yield TimingWarning("distribution", seen, "", advice, "serious")
        return
    yield from _instability(case)


def _instability(case: Case) -> Iterator[TimingWarning]:
    if (moved := drift(case.wall_ms)) is not None:
        seen = f"it became {'slower' if moved > 0 else 'faster'} by {abs(100 * moved):.0f} % within a launch"
        advice = "cool the machine, end other processes, use more launches"
        yield TimingWarning("distribution", seen, "heat, or other processes", advice)
    if (apart := launches_apart(case.wall_ms)) is not None:
        cause = "memory layout and the choice of kernels differ from launch to launch"
        yield TimingWarning("distribution", f"launches differ by {100 * apart:.0f} %", cause, "use more launches (--launches)")
    if (modes := two_modes(case.samples_ms)) is not None:
        seen = f"times cluster around two values, {modes[0]:.3g} and {modes[1]:.3g} ms"
        yield TimingWarning("distribution", seen, "the clock, the core or another process changes in between", "look for it")
    quartiles = statistics.quantiles(case.samples_ms, n=4)
    if (spread := (quartiles[2] - quartiles[0]) / quartiles[1]) > WIDE:
        seen = f"the interquartile range of the times is {100 * spread:.0f} % of the median"
        yield TimingWarning("distribution", seen, "other processes", "end them and measure again")


def _method(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[TimingWarning]:
    del before, after, machine
    if not case.interleaved:
        seen = "the target measures itself, in one block"
        yield TimingWarning(
            "method", seen, "", "compare it with interleaved runs only where they differ by a large factor", "note"
        )
    if case.calls > 1:
        seen = f"a time is the mean of several calls, {case.calls} in an iteration"
        yield TimingWarning("method", seen, "one call is too short to time", "it has no percentiles but the median", "note")


FINDERS: Final[tuple[Finder, ...]] = (
    _machine,
    _other_load,
    _heat,
    _gpu,
    _threads,
    _delegate,
    _scheduling,
    _distribution,
    _method,
)
