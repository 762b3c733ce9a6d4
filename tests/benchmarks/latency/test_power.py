# SPDX-License-Identifier: Apache-2.0
"""Power as machines report it; their folders, and macOS's program, are made up here as their documentation describes them."""

import threading
import time
from pathlib import Path

import pytest

from edgeferry.benchmarks.latency.costs import power
from edgeferry.benchmarks.latency.costs.power import joules, power_drawn
from edgeferry.targets.host import nvidia

POWERMETRICS_STAND_IN = """#!/bin/sh
[ "$1 $2" = "-n powermetrics" ] || exit 1
printf '**** Processor usage ****\\n\\nCPU Power: 900 mW\\nGPU Power: 40 mW\\nANE Power: 60 mW\\n'
printf 'Combined Power (CPU + GPU + ANE): 1000 mW\\n'
"""


def _counter(root: Path, number: str, domain: str, count: int) -> Path:
    folder = root / "sys/class/powercap" / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{domain}\n")
    (folder / "energy_uj").write_text(f"{count}\n")
    return folder / "energy_uj"


def _monitor(root: Path, chip: str = "ina3221", **files: object) -> Path:
    folder = root / "sys/class/hwmon/hwmon3"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in {"name": chip, **files}.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def test_counters_of_all_processors_are_added_but_not_those_of_their_parts(tmp_path: Path) -> None:
    _counter(tmp_path, "0", "package-0", 2_500_000)
    second = _counter(tmp_path, "1", "package-1", 500_000)
    _counter(tmp_path, "0:0", "core", 900_000)
    assert joules(tmp_path) == 3.0
    second.unlink()
    assert joules(tmp_path) is None


def test_power_is_the_counted_energy_over_time(tmp_path: Path) -> None:
    counter = _counter(tmp_path, "0", "package-0", 1_000_000)
    start = time.perf_counter()
    with power_drawn(tmp_path) as reading:
        time.sleep(0.2)
        counter.write_text("3000000")
    took_s = time.perf_counter() - start
    assert reading.meter == "RAPL"
    assert reading.watts is not None
    assert 2.0 / took_s <= reading.watts <= 2.0 / 0.2


def test_a_counter_that_wrapped_around_is_discarded(tmp_path: Path) -> None:
    counter = _counter(tmp_path, "0", "package-0", 1_000_000)
    with power_drawn(tmp_path) as reading:
        counter.write_text("10")
    assert reading.watts is None


def test_a_monitor_s_samples_are_averaged(tmp_path: Path) -> None:
    folder = _monitor(tmp_path, "ina226", curr1_input=1000, in1_input=5000, power1_input=5_000_000)
    before = threading.enumerate()
    with power_drawn(tmp_path) as reading:
        time.sleep(0.3)
        (folder / "power1_input").write_text("7000000")
        time.sleep(0.3)
    assert reading.meter == "INA"
    assert reading.watts is not None
    assert 5 < reading.watts < 7
    assert set(threading.enumerate()) <= set(before)


def test_millivolts_and_milliamperes_make_watts(tmp_path: Path) -> None:
    _monitor(tmp_path, curr1_input=800, in1_input=5000)
    with power_drawn(tmp_path) as reading:
        time.sleep(0.1)
    assert reading.watts == pytest.approx(4.0)


def test_of_several_rails_the_board_s_input_is_used(tmp_path: Path) -> None:
    rails = {"in1_label": "VDD_CPU_GPU_CV", "in2_label": "VDD_IN", "in3_label": "VDD_SOC"}
    _monitor(
        tmp_path, **rails, curr1_input=100, in1_input=5000, curr2_input=1000, in2_input=5000, curr3_input=200, in3_input=5000
    )
    with power_drawn(tmp_path) as reading:
        time.sleep(0.1)
    assert reading.watts == pytest.approx(5.0)


def test_rails_of_which_none_is_labelled_input_are_not_added(tmp_path: Path) -> None:
    _monitor(tmp_path, in1_label="A", in2_label="B", curr1_input=100, in1_input=5000, curr2_input=1000, in2_input=5000)
    with power_drawn(tmp_path) as reading:
        time.sleep(0.05)
    assert (reading.meter, reading.watts) == (None, None)


def test_other_sensors_are_not_used_as_a_monitor(tmp_path: Path) -> None:
    _monitor(tmp_path, "coretemp", curr1_input=100, in1_input=5000)
    with power_drawn(tmp_path) as reading:
        pass
    assert reading.watts is None


def test_a_mac_is_read_by_powermetrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text(POWERMETRICS_STAND_IN)
    sudo.chmod(0o755)
    monkeypatch.setattr(power.sys, "platform", "darwin")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with power_drawn(tmp_path / "no such root") as reading:
        time.sleep(0.1)
    assert (reading.meter, reading.watts) == ("powermetrics", 1.0)


def test_a_mac_without_permission_reports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power.sys, "platform", "darwin")
    monkeypatch.setenv("PATH", str(tmp_path))
    with power_drawn(tmp_path) as reading:
        pass
    assert reading.watts is None


def test_an_error_in_the_block_is_raised(tmp_path: Path) -> None:
    _monitor(tmp_path, curr1_input=800, in1_input=5000)
    before = threading.enumerate()
    with pytest.raises(ZeroDivisionError), power_drawn(tmp_path):
        raise ZeroDivisionError
    assert set(threading.enumerate()) <= set(before)


def test_a_gpu_s_counter_is_added_to_the_processor_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter, counted = _counter(tmp_path, "0", "package-0", 1_000_000), iter([0.0, 5.0, 9.0])
    monkeypatch.setattr(nvidia, "joules", lambda: next(counted))
    start = time.perf_counter()
    with power_drawn(tmp_path, by_gpu=True) as reading:
        time.sleep(0.1)
        counter.write_text("2000000")
    took_s = time.perf_counter() - start
    assert reading.meter == "RAPL and NVML"
    assert reading.watts is not None
    assert 5.0 / took_s <= reading.watts <= 5.0 / 0.1


def test_a_gpu_alone_is_counted_where_the_processor_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = iter([0.0, 5.0, 9.0])
    monkeypatch.setattr(nvidia, "joules", lambda: next(counted))
    with power_drawn(tmp_path, by_gpu=True) as reading:
        time.sleep(0.05)
    assert reading.meter == "NVML"
    assert reading.watts is not None


def test_a_gpu_that_nothing_computes_on_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "joules", lambda: 1.0)
    with power_drawn(tmp_path) as reading:
        pass
    assert reading.meter is None
