# SPDX-License-Identifier: Apache-2.0
"""What power is drawn while something runs, where the machine tells: counters of processors and GPUs, a board's monitor, macOS.

RAPL is Linux's powercap, microjoules counted since the start (docs.kernel.org/power/powercap/powercap.html). Monitors of the INA
family stand in hwmon: microwatts, or millivolts and milliamperes (docs.kernel.org/hwmon/ina2xx.html, ina3221.html). On a Mac
``powermetrics`` tells, to root alone; ``sudo -n`` asks for no password. NVIDIA GPUs count millijoules of their whole board.
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
from typing import Final, TypeVar

from edgeferry.targets.host import nvidia

ROOT: Final = Path("/")
SAMPLED_S: Final = 0.02
# What boards call the rail that everything draws from.
INPUT_RAIL: Final = re.compile(r"(VDD|POM_5V|5V|SYS)_?IN|VIN|INPUT|TOTAL", re.IGNORECASE)
POWERMETRICS: Final = ("sudo", "-n", "powermetrics", "--samplers", "cpu_power", "--sample-rate", "500", "--sample-count", "1")
POWERMETRICS_TIMEOUT_S: Final = 5.0
# Combined is told on Apple silicon, Package on Intel.
MILLIWATTS: Final = re.compile(r"^(?:Combined Power \(CPU \+ GPU \+ ANE\)|Package Power): (\d+) mW", re.MULTILINE)

Answer = TypeVar("Answer")


@dataclass
class Drawn:
    """What was drawn meanwhile, in watts, idle power included; None where nothing tells it. ``by`` names what told it."""

    by: str | None = None
    watts: float | None = None


@dataclass
class _Monitor:
    """A monitor that is read again and again by a thread of its own."""

    read_watts: Callable[[], float | None]
    seen: list[float] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Read until it is done."""
        while not self.done.wait(SAMPLED_S):
            if (watts := self.read_watts()) is not None:
                self.seen.append(watts)


@contextmanager
def drawn(root: Path = ROOT, *, by_gpu: bool = False) -> Iterator[Drawn]:
    """Yield what tells, at the end of the block, what was drawn in it; ``root`` is where /sys stands.

    ``by_gpu`` counts what the NVIDIA GPU draws that this process computes on, beside the processor where that is counted too.
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
        yield Drawn()


def joules(root: Path = ROOT) -> float | None:
    """Return what the processors' own counters have counted so far, in joules, or None where there are none."""
    packages = [folder for folder in root.glob("sys/class/powercap/*") if (_text(folder / "name") or "").startswith("package")]
    counts = [_whole(folder / "energy_uj") for folder in packages]
    known = [count for count in counts if count is not None]
    return sum(known) / 1e6 if known and len(known) == len(counts) else None


@contextmanager
def _by_counters(counters: Mapping[str, Callable[[], float | None]]) -> Iterator[Drawn]:
    found, begun, start = Drawn(" and ".join(counters)), [count() for count in counters.values()], time.perf_counter()
    yield found
    ended, took_s = [count() for count in counters.values()], time.perf_counter() - start
    used = [None if was is None or now is None else now - was for was, now in zip(begun, ended, strict=True)]
    # A counter wraps around once in many minutes; what is less than before is not told.
    known = [each for each in used if each is not None and each >= 0]
    if len(known) == len(used):
        found.watts = sum(known) / took_s


@contextmanager
def _by_monitor(read_watts: Callable[[], float | None]) -> Iterator[Drawn]:
    found, monitor = Drawn("INA"), _Monitor(read_watts)
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
def _by_powermetrics() -> Iterator[Drawn]:
    found = Drawn("powermetrics")
    try:
        process = subprocess.Popen(  # noqa: S603 - a constant
            POWERMETRICS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        yield Drawn()
        return
    with process:
        try:
            yield found
            told = process.communicate(timeout=POWERMETRICS_TIMEOUT_S)[0]
        except subprocess.TimeoutExpired:
            told = ""
        finally:
            process.kill()
    if (combined := MILLIWATTS.search(told)) is not None:
        found.watts = int(combined[1]) / 1000


def _monitor(root: Path) -> Callable[[], float | None] | None:
    """Return what reads the board's input in watts; None where no monitor tells which of its rails that is."""
    rails: list[tuple[str, Callable[[], float | None]]] = []
    for folder in sorted(root.glob("sys/class/hwmon/hwmon*")):
        if (_text(folder / "name") or "").startswith("ina"):
            for number in sorted({re.sub(r"\D", "", path.stem) for path in folder.glob("curr*_input")}):
                label = _text(folder / f"power{number}_label") or _text(folder / f"in{number}_label") or ""
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
    told = _text(path)
    return int(told) if told and told.isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
