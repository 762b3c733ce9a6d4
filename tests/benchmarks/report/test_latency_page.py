# SPDX-License-Identifier: Apache-2.0
"""The latency part of the report, from made-up numbers, in files and in a real browser."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.latency.costs.energy import METER
from edgeferry.benchmarks.latency.ratio import Ratio
from edgeferry.benchmarks.latency.records import (
    HISTORY,
    LATENCY,
    SCHEMA,
    BaselineRatio,
    Case,
    Latencies,
    TimingWarning,
    append_history,
    write_latencies,
)
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.rows import Report, Row
from edgeferry.benchmarks.report import plots
from edgeferry.benchmarks.report.charts import PLACES, _placed, family
from edgeferry.benchmarks.report.latency_page import STALE
from edgeferry.benchmarks.report.plots import MISSING
from edgeferry.benchmarks.report.report import write_report
from edgeferry.targets.target import OperationTime

pytestmark = pytest.mark.slow

SHA: Final = "a" * 64
WARNING: Final = "launches differ by 5 %; likely cause: memory layout; use more launches"
OURS: Final = Case(
    "tflite-float32",
    "litert",
    "measured",
    "",
    interleaved=True,
    artifact_sha256=SHA,
    wall_ms=[[2.0] * 40, [2.1] * 40],
    cpu_ms=[[2.0] * 40, [2.1] * 40],
    load_ms=[5.0, 6.0],
    first_ms=[3.0, 3.0],
    warnings=[TimingWarning("distribution", "launches differ by 5 %", "memory layout", "use more launches")],
    grade="fair",
)
OPERATIONS: Final = [
    OperationTime("0, XNNPACK", "Convolution (NHWC, F32) DWConv", 1.5),
    OperationTime("1, XNNPACK", "Softmax", 0.5),
]
COSTS: Final = {
    "memory_bytes": 12_000_000,
    "gpu_memory_bytes": 700_000_000,
    "arena_bytes": None,
    "before_ms": 0.25,
    "after_ms": 0.0001,
    "serial_per_s": 480.0,
    "batch": 8,
    "batch_per_s": 900.0,
    "workers": 2,
    "concurrent_per_s": 850.0,
    "energy_mj": 7.5,
}
KERAS: Final = replace(OURS, format="keras", target="keras", wall_ms=[[9.0] * 20] * 2, warnings=[], grade="good")
ABSENT: Final = Case("onnx-float32", "onnxruntime-cuda", "not run", "no CUDA device")
RATIO: Final = Ratio(0.22, 0.21, 0.23)
FOUND: Final = Latencies(
    model="made up",
    source_sha256=SHA,
    created="2026-01-02T03:04:05+00:00",
    machine={"processor": "Some Processor"},
    launches=2,
    rounds=40,
    cases=[KERAS, OURS, ABSENT],
    baseline="keras on keras",
    null=Ratio(1.0, 0.99, 1.01),
    compared=[BaselineRatio("tflite-float32", "litert", 1, RATIO, "CPU time", "faster")],
)


@pytest.fixture
def report() -> Report:
    row = Row("tflite-float32", "litert", Verdict("passed", ""), artifact_sha256=SHA)
    return Report("made up", SHA, 8, 0.9, (row,), {}, {}, "2026-01-02T03:04:05+00:00")


def _written(report: Report, folder: Path, found: Latencies = FOUND) -> str:
    write_latencies(found, folder)
    write_report(report, folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_a_model_that_was_not_timed_has_no_such_part(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    assert "<h2>Latency</h2>" not in (tmp_path / "report.html").read_text()
    assert "## Latency" not in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "4.5x faster [4.3x, 4.8x]",
        "faster",
        "needs 662 samples, has 80",
        "Some Processor",
        "no CUDA device",
        "noise floor (baseline vs itself): 1.0 %",
        "first inference",
    ],
)
def test_page_and_markdown_have_numbers_verdicts_and_what_was_not_run(text: str, report: Report, tmp_path: Path) -> None:
    assert text in _written(report, tmp_path)
    assert text.replace("[", "\\[").replace("]", "\\]") in (tmp_path / "report.md").read_text()


def test_a_warning_is_next_to_its_grade_with_cause_and_advice(report: Report, tmp_path: Path) -> None:
    assert WARNING in _written(report, tmp_path)


def test_times_of_another_version_of_the_artifact_are_marked(report: Report, tmp_path: Path) -> None:
    assert STALE not in _written(report, tmp_path)
    assert STALE in _written(report, tmp_path, replace(FOUND, cases=[replace(OURS, artifact_sha256="b" * 64)]))


def test_a_damaged_file_is_reported_and_the_rest_is_there(report: Report, tmp_path: Path) -> None:
    (tmp_path / LATENCY).write_text(f'{{"schema": {SCHEMA}, "cases": [')
    write_report(report, tmp_path)
    assert "cannot be read as latencies" in (tmp_path / "report.html").read_text()
    assert "cannot be read as latencies" in (tmp_path / "report.md").read_text()


def test_no_text_of_a_measurement_becomes_markup(report: Report, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    cases = [
        replace(OURS, format=evil, warnings=[TimingWarning("heat", evil, evil, evil)], costs_problem=evil),
        replace(ABSENT, reason=evil),
    ]
    assert evil not in _written(report, tmp_path, replace(FOUND, cases=cases, machine={"processor": evil}))
    assert not re.search(r"(?<!\\)<", (tmp_path / "report.md").read_text())


def test_plots_take_their_colours_from_the_page(report: Report, tmp_path: Path) -> None:
    written = _written(report, tmp_path)
    drawn = re.findall(r"<svg class=\"plot\".*?</svg>", written, flags=re.DOTALL)
    assert len(drawn) == 2
    for each in drawn:
        assert "var(--" in each
        assert not re.search(r'(fill|stroke)="#', each)


def test_a_plot_names_the_artifacts_that_no_other_beats(report: Report, tmp_path: Path) -> None:
    pareto, *_ = re.findall(r"<svg class=\"plot\".*?</svg>", _written(report, tmp_path), flags=re.DOTALL)
    assert ">tflite-float32 on litert</text>" in pareto
    assert ">keras on keras</text>" not in pareto
    assert "<title>keras on keras: 9.00 ms" in pareto


def test_names_next_to_points_do_not_overlap_and_one_without_room_is_left_out() -> None:
    points = [(1.0, 100.0), (10.0, 1000.0)]
    assert _placed([("alone", 1.0, 100)], points) == {"alone": 0}
    near = [(f"the name of point {at}", 2.0, 300) for at in range(9)]
    placed = _placed(near, points)
    assert len(set(placed.values())) == len(placed)
    assert 3 <= len(placed) < len(near)
    (right,) = _placed([("a long name at the right", 10.0, 100)], points).values()
    assert PLACES[right][0] == "right"


def test_times_of_zero_are_left_out_of_the_plots(report: Report, tmp_path: Path) -> None:
    stepped = replace(KERAS, format="stepped", wall_ms=[[0.0] * 40] * 2)
    pareto, *_ = re.findall(
        r"<svg class=\"plot\".*?</svg>", _written(report, tmp_path, replace(FOUND, cases=[OURS, stepped])), re.DOTALL
    )
    assert "stepped" not in pareto


def test_costs_that_were_not_measured_say_why(report: Report, tmp_path: Path) -> None:
    case = replace(OURS, costs_problem="not measured: memory: the process was killed by SIGKILL")
    assert "the process was killed by SIGKILL" in _written(report, tmp_path, replace(FOUND, cases=[case]))


def test_costs_and_operations_are_shown_where_they_were_measured(report: Report, tmp_path: Path) -> None:
    assert "Costs besides latency" not in _written(report, tmp_path)
    case = replace(OURS, costs=COSTS, operations=OPERATIONS, environment={METER: "RAPL"})
    written = _written(report, tmp_path, replace(FOUND, cases=[KERAS, case]))
    for text in ("12.0 MB", "700 MB", "0.250 ms", "&lt; 0.001 ms", "480 /s", "900 /s of 8", "850 /s by 2", "7.5 mJ\n(RAPL)"):
        assert text in written
    assert ">arena</span>" not in written
    assert "Not measured in this run: size, gzip, arena." in written
    assert "<title>Convolution (NHWC, F32) DWConv (0, XNNPACK): 1.50 ms, 75.0 %</title>" in written
    assert "| 900 /s of 8 | 850 /s by 2 |" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Convolution (NHWC, QC8) DWConv", "depthwise convolution"),
        ("Convolution (NHWC, F32) IGEMM", "convolution"),
        ("Fully Connected (NC, F32) GEMM", "dense, 1 x 1 convolution"),
        ("QUANTIZE", "moving, reshaping, quantizing"),
        ("GlobalAveragePool", "pooling, reduction"),
        ("Sigmoid", "element by element, other"),
    ],
)
def test_operations_are_grouped_by_what_they_do(kind: str, expected: str) -> None:
    assert family(kind) == expected


def test_earlier_runs_of_this_machine_are_shown_and_a_line_that_is_cut_short_is_counted(report: Report, tmp_path: Path) -> None:
    append_history(FOUND, tmp_path)
    assert "Earlier runs" not in _written(report, tmp_path)
    append_history(replace(FOUND, machine={"processor": "Another"}), tmp_path)
    assert "Earlier runs" not in _written(report, tmp_path)
    later = replace(OURS, wall_ms=[[2.5] * 40] * 2, artifact_sha256="b" * 64)
    append_history(replace(FOUND, created="2026-01-03T03:04:05+00:00", cases=[KERAS, later]), tmp_path)
    with (tmp_path / HISTORY).open("a") as file:
        file.write('{"schema": 1, "created": "2026-0')
    written = _written(report, tmp_path)
    assert "Earlier runs on this machine" in written
    assert "2.50 ms, 10 % slower than the median of its runs; the artifact changed since the run before" in written
    assert "lines of latency.jsonl that cannot be read and are skipped: 1" in written


def test_without_the_library_the_page_says_why_there_are_no_plots(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    written = _written(report, tmp_path)
    assert MISSING in written
    assert 'class="plot"' not in written


@pytest.fixture
def page(opened: Any, report: Report, tmp_path: Path) -> Iterator[Any]:
    _written(report, tmp_path)
    with opened(tmp_path / "report.html") as page:
        yield page


def _formats(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".speed .case td:first-child").all_inner_texts()]


@pytest.mark.browser
def test_clicking_a_heading_sorts_the_cases(page: Any) -> None:
    median = page.locator(".speed .latency th", has_text="median").get_by_role("button")
    median.click()
    assert _formats(page) == ["tflite-float32", "keras"]
    median.click()
    assert _formats(page) == ["keras", "tflite-float32"]
    assert page.locator(".entry").count() == 1


@pytest.mark.browser
def test_clicking_a_grade_shows_its_warnings(page: Any) -> None:
    warning = page.get_by_text(WARNING, exact=True)
    assert not warning.is_visible()
    page.locator(".speed .latency summary").click()
    assert warning.is_visible()


@pytest.mark.browser
def test_the_search_field_filters_the_cases_too(page: Any) -> None:
    page.locator("#words").fill("keras")
    assert _visible(page) == ["keras"]
    page.locator("#words").fill("")
    assert len(_visible(page)) == 2


def _visible(page: Any) -> list[str]:
    return [each.inner_text().strip() for each in page.locator(".speed .case td:first-child").all() if each.is_visible()]


@pytest.mark.browser
def test_plots_are_readable_in_the_dark_and_in_print(page: Any) -> None:
    def colour() -> str:
        name = page.locator(".plot text", has_text="keras on keras").first
        return str(name.evaluate("each => getComputedStyle(each).fill"))

    light = colour()
    page.emulate_media(color_scheme="dark")
    dark = colour()
    page.emulate_media(media="print", color_scheme="dark")
    assert light != dark != colour()
    assert page.locator(".plot").first.is_visible()
    assert not page.locator(".controls").is_visible()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 1041, 800, 390, 320])
def test_the_page_with_latencies_is_never_wider_than_its_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.locator(".speed .latency summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
