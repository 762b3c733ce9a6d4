# SPDX-License-Identifier: Apache-2.0
"""What artifacts cost besides latency, measured in processes of their own, as a run does; and a cost that is added."""

import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

import edgeferry.benchmarks
from edgeferry.benchmarks.latency.costs import calls, energy, throughput
from edgeferry.benchmarks.latency.costs.arena import measure_arena
from edgeferry.benchmarks.latency.costs.cost import CostNumbers, known_costs
from edgeferry.benchmarks.latency.costs.energy import METER, measure_energy
from edgeferry.benchmarks.latency.costs.memory import measure_memory
from edgeferry.benchmarks.latency.costs.operations import operations_of
from edgeferry.benchmarks.latency.costs.power import PowerReading, power_drawn
from edgeferry.benchmarks.latency.costs.run import costs_reported
from edgeferry.benchmarks.latency.costs.size import compressed_bytes
from edgeferry.benchmarks.latency.costs.throughput import measure_throughput
from edgeferry.benchmarks.latency.entries import BenchPlan, Selection
from edgeferry.benchmarks.latency.measure import measure
from edgeferry.benchmarks.latency.records import Case, Latencies, read_latencies, write_latencies
from edgeferry.benchmarks.parity.rows import Report
from edgeferry.benchmarks.report.latency_text import print_latency
from edgeferry.benchmarks.report.report import write_report
from edgeferry.models.artifact import read_artifact
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.host.installed import CUDA_DEVICE
from edgeferry.targets.target import Job, Session, choose, targets

SHA: Final = "a" * 64
# A module of a cost, as somebody would add it: one file anywhere below benchmarks.
TOY: Final = """\
from edgeferry.benchmarks.latency.costs.cost import Cost, CostNumbers


def measure_toy(target, job):
    return CostNumbers({"toy_points": float(len(target))})


COSTS = (
    Cost(
        name="toy_points",
        title="toy",
        unit="points",
        meaning="how many letters a target's name has",
        text=lambda number, _: f"{number:.0f} toy points",
        measure=measure_toy,
        needs_runtime=False,
    ),
)
"""

Measured = Callable[[Callable[[str, Job], CostNumbers], str, str], CostNumbers]


@pytest.fixture
def cost(exported_digits: Any, tmp_path: Path) -> Measured:
    """Return a function that measures a cost of one of the default classifier's artifacts, in a process of its own."""

    def run(function: Callable[[str, Job], CostNumbers], form: str, target: str) -> CostNumbers:
        job = Job(exported_digits.build / form, exported_digits.build / "reference" / "pixels.npy", tmp_path)
        with Child() as child:
            found: CostNumbers = child.call(function, target, job, log=tmp_path / "log")
        return found

    return run


def _number(found: CostNumbers, name: str) -> float:
    number = found.numbers[name]
    assert number is not None
    return number


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add a cost as one file, in a folder of its own."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "toy_cost.py").write_text(TOY)
    monkeypatch.setattr(edgeferry.benchmarks, "__path__", [*edgeferry.benchmarks.__path__, str(tmp_path / "more")])
    known_costs.cache_clear()
    yield
    known_costs.cache_clear()


@pytest.mark.usefixtures("toy")
def test_an_added_cost_is_in_the_json_its_schema_the_table_the_markdown_and_the_page(
    exported_digits: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    selection = Selection(exported_digits.build, ("tflite-int8",), choose(("litert",)))
    found = measure(selection, BenchPlan(2, 50), lambda *_: None)
    write_latencies(found, tmp_path)
    written = json.loads((tmp_path / "latency.json").read_text())
    schema = json.loads((ROOT / "benchmarks" / "latency" / "latency.schema.json").read_text())
    assert [error.message for error in Draft202012Validator(schema).iter_errors(written)] == []
    assert written["cases"][0]["costs"]["toy_points"] == 6
    assert written["cost_definitions"]["toy_points"]["unit"] == "points"
    assert read_latencies(tmp_path / "latency.json") == found
    write_report(Report("made up", SHA, 8, 0.9, (), {}, {}, "2026-01-02T03:04:05+00:00"), tmp_path)
    print_latency(found, Console(width=200))
    for text in (capsys.readouterr().out, *((tmp_path / name).read_text() for name in ("report.md", "report.html"))):
        assert "6 toy points" in text
    assert re.search(r"^\| format \| target \|.* toy .*\|$", (tmp_path / "report.md").read_text(), re.MULTILINE)
    assert "Toy: how many letters a target&#39;s name has." in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("toy")
def test_an_added_cost_that_a_target_reports_itself_is_taken_from_its_environment() -> None:
    assert costs_reported({"toy_points": 3, "version": "1.0", "memory_bytes": None}) == {"toy_points": 3}


def test_a_column_that_does_not_fit_the_terminal_is_named_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    numbers = dict.fromkeys(known_costs(), 1e6)
    print_latency(_run_with(numbers), Console(width=80, force_terminal=True, no_color=True))
    output = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines()) <= 80
    (titles,) = re.findall(r"also measured, in latency.json and the report: (.*) 1 measured", " ".join(output.split()))
    assert titles.split(", ")[-1] == [cost.title for cost in known_costs().values() if cost.is_column][-1]


def test_every_cost_has_a_name_that_the_schema_takes_and_a_text() -> None:
    case = _run_with({}).cases[0]
    for cost in known_costs().values():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", cost.name)
        assert cost.title
        assert cost.unit
        assert not cost.meaning.endswith(".")
        assert cost.text(12.0, case)


def _run_with(costs: dict[str, float | None]) -> Latencies:
    case = Case("tflite-float32", "litert", "measured", "", interleaved=True, artifact_sha256=SHA, wall_ms=[[2.0] * 40] * 2)
    case = replace(case, cpu_ms=case.wall_ms, costs=costs, grade="good", agrees=True)
    return Latencies("made up", SHA, "2026-01-02T03:04:05+00:00", {"processor": "Some Processor"}, 2, 40, [case])


@pytest.mark.alone
def test_litert_takes_memory(cost: Measured) -> None:
    found = cost(measure_memory, "tflite-float32", "litert")
    # The library alone is some megabytes; all of TensorFlow would be hundreds.
    assert 2e6 < _number(found, "memory_bytes") < 2e8


@pytest.mark.alone
def test_litert_runs_images_on_every_core(cost: Measured) -> None:
    found = cost(measure_throughput, "tflite-float32", "litert")
    assert _number(found, "serial_per_s") > 100
    assert 0 < _number(found, "before_ms") < 1000
    assert (found.numbers["workers"] is None) == (found.numbers["concurrent_per_s"] is None)
    assert found.numbers["batch"] is None


def test_a_runtime_that_takes_batches_is_measured_with_them(cost: Measured) -> None:
    found = cost(measure_throughput, "onnx-float32", "onnxruntime-cpu")
    assert found.numbers["batch"] == throughput.BATCH
    assert _number(found, "batch_per_s") > 100


def test_energy_is_measured_where_the_processor_counts_it(cost: Measured) -> None:
    with power_drawn() as reading:
        time.sleep(0.1)
    found = cost(measure_energy, "tflite-float32", "litert")
    assert (found.numbers["energy_mj"] is None) == (reading.watts is None)
    assert found.facts.get(METER) == (None if reading.watts is None else reading.meter)


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA_DEVICE.exists(), reason="needs an NVIDIA GPU and its driver")
def test_the_memory_and_power_of_a_gpu_are_measured(cost: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if why := targets()["onnxruntime-cuda"].missing():
        pytest.skip(why)
    # CUDA's context alone takes some hundred megabytes of the GPU.
    assert _number(cost(measure_memory, "onnx-float32", "onnxruntime-cuda"), "gpu_memory_bytes") > 1e8
    found = cost(measure_energy, "onnx-float32", "onnxruntime-cuda")
    assert found.facts[METER] in {"NVML", "RAPL and NVML"}
    assert _number(found, "energy_mj") > 1


def test_energy_is_per_inference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls_made = [0]

    def infer() -> int:
        calls_made[0] += 1
        time.sleep(0.001)
        return 0

    @contextmanager
    def two_watts(*, by_gpu: bool) -> Iterator[PowerReading]:
        assert not by_gpu
        calls_made[0] = 0
        yield PowerReading("RAPL", 2.0)

    session = Session(lambda _: infer, lambda raw: raw, None, 0.0, {})
    monkeypatch.setattr(energy, "opener", lambda _: lambda _: session)
    monkeypatch.setattr(energy, "first_image", lambda _: None)
    monkeypatch.setattr(energy, "power_drawn", two_watts)
    monkeypatch.setattr(calls, "COUNTED_S", 0.05)
    start = time.perf_counter()
    found = measure_energy("litert", Job(tmp_path, tmp_path, tmp_path))
    took_s = time.perf_counter() - start
    assert 2000 * 0.05 / calls_made[0] <= _number(found, "energy_mj") <= 2000 * took_s / calls_made[0]
    assert found.facts == {METER: "RAPL"}


def test_the_arena_is_reported_by_the_runtime(cost: Measured) -> None:
    arenas = {
        target: _number(cost(measure_arena, form, target), "arena_bytes")
        for form, target in (
            ("tflite-float32", "litert"),
            ("tflite-float32", "litert-builtin"),
            ("onnx-float32", "onnxruntime-cpu"),
        )
    }
    # Input and output alone, where XNNPACK holds the tensors in between.
    assert 32 * 32 * 4 <= arenas["litert"] < arenas["litert-builtin"] < 2**20
    assert arenas["onnxruntime-cpu"] >= 2**20


def test_the_compressed_size_is_what_gzip_makes_of_each_file(exported_digits: Any) -> None:
    folder = exported_digits.build / "tflite-int8"
    artifact = read_artifact(folder)
    expected = sum(len(zlib.compress((folder / name).read_bytes(), wbits=31)) for name in artifact.files)
    assert compressed_bytes(folder, artifact.sha256) == expected < artifact.bytes


def test_a_run_measures_every_cost_and_operation(exported_digits: Any) -> None:
    selection = Selection(exported_digits.build, ("tflite-float32",), choose(("litert",)))
    (case,) = measure(selection, BenchPlan(2, 50, costs=True), lambda *_: None).cases
    assert {"Softmax (NC, F32)"} <= {each.kind for each in case.operations}
    assert set(case.costs) == set(known_costs())
    for name in ("bytes", "compressed_bytes", "memory_bytes", "arena_bytes", "serial_per_s"):
        assert case.costs[name] is not None, name
    assert case.costs_problem == ""


def test_a_run_without_costs_has_the_size_alone(exported_digits: Any) -> None:
    selection = Selection(exported_digits.build, ("tflite-float32",), choose(("litert",)))
    (case,) = measure(selection, BenchPlan(2, 50), lambda *_: None).cases
    assert set(case.costs) == {"bytes", "compressed_bytes"}
    assert case.operations == []


def test_a_target_that_measures_itself_reports_its_own_memory(exported_digits: Any) -> None:
    selection = Selection(exported_digits.build, ("tflite-float32",), choose(("tflite-runtime",)))
    (case,) = measure(selection, BenchPlan(2, 50, costs=True), lambda *_: None).cases
    if case.state == "not run":
        pytest.skip(case.reason)
    memory_bytes = case.costs["memory_bytes"]
    assert memory_bytes is not None
    assert 1e6 < memory_bytes < 1e8


@pytest.mark.parametrize(("failing", "name"), [(operations_of, "operations"), (measure_memory, "memory, GPU memory")])
def test_a_measurement_that_fails_leaves_the_other_costs(
    failing: Callable[..., Any], name: str, exported_digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(child: Child, function: Callable[..., Any], *arguments: Any, **how: Any) -> Any:
        if function is failing:
            raise EdgeError("EF-made-up", "no such profiler")
        if function is measure_throughput:
            # It takes seconds, and test_a_run_measures_every_cost_and_operation has it measured.
            return CostNumbers({})
        return real(child, function, *arguments, **how)

    real = Child.call
    monkeypatch.setattr(Child, "call", call)
    selection = Selection(exported_digits.build, ("tflite-float32",), choose(("litert",)))
    (case,) = measure(selection, BenchPlan(2, 50, costs=True), lambda *_: None).cases
    assert case.state == "measured"
    assert case.costs_problem == f"not measured: {name}: no such profiler"
    assert (case.operations == []) == (failing is operations_of)
    assert ("memory_bytes" in case.costs) == (failing is operations_of)
    assert case.costs["arena_bytes"] is not None
