# SPDX-License-Identifier: Apache-2.0
"""The power drawn while something runs, by the meters of the machine: counters of processors and GPUs, a board's monitor, macOS.

RAPL is Linux's powercap, microjoules counted since the start (docs.kernel.org/power/powercap/powercap.html). Monitors of the INA
family are in hwmon: microwatts, or millivolts and milliamperes (docs.kernel.org/hwmon/ina2xx.html, ina3221.html). On a Mac it is
``powermetrics``, which needs root; ``sudo -n`` never prompts for a password. NVIDIA GPUs count millijoules of their whole board.
"""

import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.latency.machine import read_text
from edgeferry.models.system.cores import ROOT
from edgeferry.targets.host import nvidia

SAMPLED_S: Final = 0.02
# What boards call the rail that everything draws from.
INPUT_RAIL: Final = re.compile(r"(VDD|POM_5V|5V|SYS)_?IN|VIN|INPUT|TOTAL", re.IGNORECASE)
POWERMETRICS: Final = ("sudo", "-n", "powermetrics", "--samplers", "cpu_power", "--sample-rate", "500", "--sample-count", "1")
POWERMETRICS_TIMEOUT_S: Final = 5.0
# Combined is printed on Apple silicon, Package on Intel.
MILLIWATTS: Final = re.compile(r"^(?:Combined Power \(CPU \+ GPU \+ ANE\)|Package Power): (\d+) mW", re.MULTILINE)


@dataclass
class PowerReading:
    """The mean power in watts, idle power included, or None where there is no meter; filled when the block ends."""

    meter: str | None = None
    watts: float | None = None


@dataclass
class _Monitor:
    """A monitor that is read repeatedly by a thread of its own."""

    read_watts: Callable[[], float | None]
    seen: list[float] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Read until it is done."""
        while not self.done.wait(SAMPLED_S):
            if (watts := self.read_watts()) is not None:
                self.seen.append(watts)


@contextmanager
def power_drawn(root: Path = ROOT, *, by_gpu: bool = False) -> Iterator[PowerReading]:
    """Yield a reading that holds, when the block has ended, the power drawn within it; ``root`` is where /sys is.

    ``by_gpu`` adds the power of the NVIDIA GPU that this process computes on to that of the processor, where that has a counter.
    """
    counters: dict[str, Callable[[], float | None]] = {"RAPL": partial(joules, root)}
    if by_gpu:
        counters["NVML"] = nvidia.joules
    known = {name: count for name, count in counters.items() if count() is not None}
    if known:
        with _by_counters(known) as found:
            yield found
    elif (read_watts := _monitor(root)) is not None:
        with _by_monitor(read_watts) as found:
            yield found
    elif sys.platform == "darwin":
        with _by_powermetrics() as found:
            yield found
    else:
        yield PowerReading()


def joules(root: Path = ROOT) -> float | None:
    """Return the energy that the processors' own counters have counted so far, in joules, or None where there are none."""
    packages = [
        folder for folder in root.glob("sys/class/powercap/*") if (read_text(folder / "name") or "").startswith("package")
    ]
    counts = [_whole(folder / "energy_uj") for folder in packages]
    known = [count for count in counts if count is not None]
    return sum(known) / 1e6 if known and len(known) == len(counts) else None


@contextmanager
def _by_counters(counters: Mapping[str, Callable[[], float | None]]) -> Iterator[PowerReading]:
    found, begun, start = PowerReading(" and ".join(counters)), [count() for count in counters.values()], time.perf_counter()
    yield found
    ended, took_s = [count() for count in counters.values()], time.perf_counter() - start
    used = [None if was is None or now is None else now - was for was, now in zip(begun, ended, strict=True)]
    # A counter wraps around once in many minutes; a difference below zero is discarded.
    known = [each for each in used if each is not None and each >= 0]
    if len(known) == len(used):
        found.watts = sum(known) / took_s


@contextmanager
def _by_monitor(read_watts: Callable[[], float | None]) -> Iterator[PowerReading]:
    found, monitor = PowerReading("INA"), _Monitor(read_watts)
    thread = threading.Thread(target=monitor.watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        monitor.done.set()
        thread.join()
    if monitor.seen:
        found.watts = statistics.fmean(monitor.seen)


@contextmanager
def _by_powermetrics() -> Iterator[PowerReading]:
    found = PowerReading("powermetrics")
    try:
        process = subprocess.Popen(  # noqa: S603 - a constant
            POWERMETRICS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        yield PowerReading()
        return
    with process:
        try:
            yield found
            output = process.communicate(timeout=POWERMETRICS_TIMEOUT_S)[0]
        except subprocess.TimeoutExpired:
            output = ""
        finally:
            process.kill()
    if (combined := MILLIWATTS.search(output)) is not None:
        found.watts = int(combined[1]) / 1000


def _monitor(root: Path) -> Callable[[], float | None] | None:
    """Return a function that reads the board's input power in watts; None where no monitor labels the rail of the input."""
    rails: list[tuple[str, Callable[[], float | None]]] = []
    for folder in sorted(root.glob("sys/class/hwmon/hwmon*")):
        if (read_text(folder / "name") or "").startswith("ina"):
            for number in sorted({re.sub(r"\D", "", path.stem) for path in folder.glob("curr*_input")}):
                label = read_text(folder / f"power{number}_label") or read_text(folder / f"in{number}_label") or ""
                rails.append((label, partial(_watts, folder, number)))
    inputs = [read for label, read in rails if INPUT_RAIL.search(label)] if len(rails) > 1 else [read for _, read in rails]
    return inputs[0] if len(inputs) == 1 else None


def _watts(folder: Path, number: str) -> float | None:
    microwatts = _whole(folder / f"power{number}_input")
    if microwatts is not None:
        return microwatts / 1e6
    millivolts, milliamperes = _whole(folder / f"in{number}_input"), _whole(folder / f"curr{number}_input")
    return None if millivolts is None or milliamperes is None else millivolts * milliamperes / 1e6


def _whole(path: Path) -> int | None:
    text = read_text(path)
    return int(text) if text and text.isdigit() else None
