# SPDX-License-Identifier: Apache-2.0
"""May a figure be trusted? What speaks against it, each with what to do, and a grade."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.latency.interleave import on_cpu
from edgeferry.benchmarks.latency.machine import State
from edgeferry.benchmarks.latency.percentiles import samples_needed
from edgeferry.benchmarks.latency.records import Case, Grade, Notice
from edgeferry.targets.target import integer_target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Below this share of the wall's time a single thread did not have the processor to itself.
LEAST_SHARE: Final = 0.9
MOSTLY_OURS: Final = 0.5
# Work of others and stolen time, in cores and as a share of all time, above which medians move (measured on 2 busy cores:
# absolute medians moved by 12 to 14 % at a load of 5 and more, by less than 2 % below 0.3).
OTHERS_LOAD: Final = 0.5
STOLEN_SHARE: Final = 0.02
# A processor above this is near where makers let it throttle, 95 to 105 degrees.
HOT_C: Final = 85.0
# NVIDIA's GPUs slow themselves down a little above it.
HOT_GPU_C: Final = 83.0
GPU_IDLE: Final = 0.05
# An H100 that is asked now and then goes down to 345 of 1980 MHz, where a small network takes 1.3 times as long.
LEAST_CLOCK: Final = 0.9
# How far the samples must move within a launch, or launches from each other, before it is told.
LEAST_EFFECT: Final = 0.05
CERTAIN: Final = 0.001
WIDE: Final = 0.2
# Ashman, Bird and Zepf (1994) call two modes clean beyond D = 2. Here the modes are found by splitting the sample itself where
# that explains most (Otsu 1979), which gives a normal one 2.7 and a uniform one 3.5. Beyond 4.5, 60 times of one mode (normal,
# lognormal, uniform, exponential) are taken for two in 2 of 100 samples, and two 20 % apart with 3 % of noise are always found.
SEPARATION: Final = 4.5
SMALLEST_MODE: Final = 0.1
FEWEST_FOR_MODES: Final = 60
# pyperf's rule: an interquartile range or a mode is nothing to be told of fewer.
FEWEST: Final = 20

Doubt = Callable[[Case, State, State, Mapping[str, Any]], Iterator[Notice]]


def doubts(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> list[Notice]:
    """Return what speaks against a case's figures, by the machine's states before and after the run."""
    return [notice for doubt in DOUBTS for notice in doubt(case, before, after, machine)]


def grade(case: Case, notices: Sequence[Notice]) -> Grade:
    """Return "poor" where something serious was found or there are too few samples, "fair" where anything else is doubtful."""
    weights = {notice.weight for notice in notices}
    if "serious" in weights or len(case.samples_ms) < FEWEST:
        return "poor"
    return "fair" if "doubt" in weights else "good"


def _governor(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[Notice]:
    del case, before, after
    told = machine.get("governor")
    if told not in {None, "performance"}:
        yield Notice(f"the processor's governor is {told}", "set it: `cpupower frequency-set -g performance`", "doubt")


def _virtual(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[Notice]:
    del case, before, after
    if machine.get("virtual"):
        yield Notice("this is a virtual machine", "take its ratios, not its milliseconds", "remark")


def _others(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[Notice]:
    del case, machine
    if before.load > OTHERS_LOAD:
        what = f"{before.load:.1f} cores were busy with something else in the minute before the run"
        yield Notice(what, "end what else runs, wait a minute and measure again", "doubt")
    total = after.busy_s + after.idle_s - before.busy_s - before.idle_s
    if before.stolen_s is not None and after.stolen_s is not None and total > 0:
        share = (after.stolen_s - before.stolen_s) / total
        if share > STOLEN_SHARE:
            what = f"the hypervisor gave {100 * share:.0f} % of the time to others"
            yield Notice(what, "measure on a machine of your own, or when its neighbours sleep", "serious")


def _heat(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[Notice]:
    del case, machine
    if before.throttled is not None and after.throttled is not None and after.throttled > before.throttled:
        what = f"the processor throttled {after.throttled - before.throttled} times"
        yield Notice(what, "cool it, or let it rest between runs", "serious")
    elif after.temperature_c is not None and after.temperature_c > HOT_C:
        yield Notice(f"the processor was at {after.temperature_c:.0f} degrees", "cool it: it throttles before long", "doubt")
    if before.frequency_mhz and after.frequency_mhz and abs(after.frequency_mhz / before.frequency_mhz - 1) > LEAST_EFFECT:
        what = f"the processor's clock went from {before.frequency_mhz:.0f} to {after.frequency_mhz:.0f} MHz"
        yield Notice(what, "fix it: governor performance, turbo off", "remark")
    if after.on_battery:
        yield Notice("the machine runs on its battery", "plug it in", "doubt")


def _gpu(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[Notice]:
    del machine
    if "gpu" not in case.environment:
        return
    if before.gpu.busy is not None and before.gpu.busy > GPU_IDLE:
        what = f"the GPU was busy for {100 * before.gpu.busy:.0f} % of the time before the run"
        yield Notice(what, "end what else computes or draws on it (`nvidia-smi` lists it)", "doubt")
    clock_mhz, most_mhz = (case.environment.get(name) for name in ("clock_mhz", "most_clock_mhz"))
    if clock_mhz and most_mhz and clock_mhz < LEAST_CLOCK * most_mhz:
        what = f"the GPU's clock was at {clock_mhz} of {most_mhz} MHz, as where it has little to do"
        yield Notice(what, "fix it (`nvidia-smi --lock-gpu-clocks`), or read the times as those of answers now and then", "doubt")
    slowed = [moment.gpu.slowed_s for moment in (before, after)]
    if slowed[0] is not None and slowed[1] is not None and slowed[1] > slowed[0]:
        what = f"the GPU slowed itself down for {slowed[1] - slowed[0]:.1f} s, by heat or at its limit of power"
        yield Notice(what, "cool it, or let it rest between runs", "serious")
    elif after.gpu.temperature_c is not None and after.gpu.temperature_c > HOT_GPU_C:
        yield Notice(f"the GPU was at {after.gpu.temperature_c:.0f} degrees", "cool it: it slows down before long", "doubt")


def _threads(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[Notice]:
    del before, after
    cores = min(machine.get("cores") or case.threads, machine.get("cpu_quota") or float("inf"))
    if case.in_turns and case.threads > cores:
        yield Notice(f"{case.threads} threads share {cores:g} cores", "ask for at most as many threads as cores", "serious")


def _delegate(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[Notice]:
    del before, after, machine
    nodes, taken = (case.environment.get(name) for name in ("nodes", "delegated_nodes"))
    if nodes and taken is not None and taken < nodes and case.target != integer_target().name:
        who = case.environment.get("provider") or str(case.environment.get("delegate", "the delegate")).partition(" (")[0]
        who = "a delegate" if who == "none" else who
        what = f"{who} took {taken} of {nodes} operations; the others ran on the runtime's own kernels"
        yield Notice(what, "`python -m exporters inspect` lists them all", "remark")


def _share(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[Notice]:
    del before, after, machine
    if not case.cpu_ms or not on_cpu(case.environment):
        return
    share = sum(map(sum, case.cpu_ms)) / sum(map(sum, case.wall_ms))
    if share < LEAST_SHARE:
        what = f"its process had a processor for {100 * share:.0f} % of the time"
        yield Notice(
            what,
            "read its CPU time and ratios; the wall's figures want a quiet machine",
            "doubt" if share > MOSTLY_OURS else "serious",
        )
    if share > case.threads + 1 - LEAST_SHARE:
        what = f"it used {share:.1f} processors, though {case.threads} thread{'s were' if case.threads > 1 else ' was'} asked for"
        yield Notice(what, "compare it by the wall's time, on as many cores", "doubt")


def _distribution(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[Notice]:
    del before, after, machine
    if any(time <= 0 for time in case.samples_ms):
        yield Notice("a time is not positive: the clock stepped, or is too coarse", "measure again", "serious")
        return
    if len(case.samples_ms) < FEWEST:
        yield Notice(f"there are only {len(case.samples_ms)} samples", f"take {samples_needed(90)} at the least", "serious")
        return
    if (moved := drift(case.wall_ms)) is not None:
        what = f"it became {'slower' if moved > 0 else 'faster'} by {abs(100 * moved):.0f} % within a launch"
        yield Notice(what, "cool the machine, end what else runs, take more launches", "doubt")
    if (apart := launches_apart(case.wall_ms)) is not None:
        yield Notice(
            f"launches differ by {100 * apart:.0f} %",
            "take more launches: memory is laid out, and kernels are chosen, anew in each",
            "doubt",
        )
    if (modes := two_modes(case.samples_ms)) is not None:
        low, high = modes
        what = f"times come in two groups, about {low:.3g} and {high:.3g} ms"
        yield Notice(what, "look for what changes in between: clock, core, another process", "doubt")
    quartiles = statistics.quantiles(case.samples_ms, n=4)
    if (spread := (quartiles[2] - quartiles[0]) / quartiles[1]) > WIDE:
        yield Notice(
            f"the middle half of the times spreads over {100 * spread:.0f} % of the median", "end what else runs", "doubt"
        )


def _method(case: Case, before: State, after: State, machine: Mapping[str, Any]) -> Iterator[Notice]:
    del before, after, machine
    if not case.in_turns:
        yield Notice("it times itself, in one block", "compare it with what ran beside it only by large factors", "remark")
    if case.calls > 1:
        what = "a time is that of a turn of several calls"
        yield Notice(what, "read no percentile from it", "remark")


DOUBTS: Final[tuple[Doubt, ...]] = (
    _governor,
    _virtual,
    _others,
    _heat,
    _gpu,
    _threads,
    _delegate,
    _share,
    _distribution,
    _method,
)


def drift(launches_ms: Sequence[Sequence[float]]) -> float | None:
    """Return by which share the times move from a launch's first round to its last, where all launches say that they do.

    The slope is that of Theil and Sen, the test Kendall's tau; the first tenth is left out, in which a processor awakes.
    """
    from scipy.stats import kendalltau, theilslopes

    moved = []
    for launch in launches_ms:
        rest = launch[len(launch) // 10 :]
        if len(rest) < FEWEST // 2:
            return None
        rounds = range(len(rest))
        share = theilslopes(rest, rounds).slope * (len(rest) - 1) / statistics.median(rest)
        if abs(share) < LEAST_EFFECT or kendalltau(rounds, rest).pvalue > CERTAIN ** (1 / len(launches_ms)):
            return None
        moved.append(share)
    return statistics.median(moved) if len({share > 0 for share in moved}) == 1 else None


def launches_apart(launches_ms: Sequence[Sequence[float]]) -> float | None:
    """Return by which share the medians of launches differ at most, where that is more than chance (Kruskal and Wallis)."""
    from scipy.stats import kruskal

    if len(launches_ms) < 2 or any(len(launch) < 2 for launch in launches_ms):
        return None
    medians = [statistics.median(launch) for launch in launches_ms]
    apart = max(medians) / min(medians) - 1
    return apart if apart > LEAST_EFFECT and kruskal(*launches_ms).pvalue < CERTAIN else None


def two_modes(samples_ms: Sequence[float]) -> tuple[float, float] | None:
    """Return the two times about which samples gather, or None where they gather about one; outliers are no mode."""
    import numpy as np

    if len(samples_ms) < FEWEST_FOR_MODES:
        return None
    logarithms = np.sort(np.log(samples_ms))
    cut = max(1, len(logarithms) // 50)
    rest = logarithms[cut:-cut]
    at = _best_split(rest)
    low, high = rest[:at], rest[at:]
    if min(len(low), len(high)) < SMALLEST_MODE * len(rest):
        return None
    within = np.sqrt((low.var() + high.var()) / 2)
    apart = high.mean() - low.mean()
    if apart < np.log1p(LEAST_EFFECT) or apart < SEPARATION * within:
        return None
    return float(np.exp(np.median(low))), float(np.exp(np.median(high)))


def _best_split(ordered: "NDArray[np.float64]") -> int:
    """Return where an ordered sample falls into two parts that differ most beside what they vary (Otsu)."""
    import numpy as np

    counts = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)[:-1]
    means = sums / counts, (ordered.sum() - sums) / (len(ordered) - counts)
    between = counts * (len(ordered) - counts) * (means[0] - means[1]) ** 2
    return int(between.argmax()) + 1
