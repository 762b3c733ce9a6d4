# SPDX-License-Identifier: Apache-2.0
"""The registry of metrics: every metric that there is, and one that a module in another folder adds."""

import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

import edgeferry.benchmarks
from edgeferry.benchmarks.parity.judging.expected import Expected
from edgeferry.benchmarks.parity.judging.metric import Metric, metrics
from edgeferry.benchmarks.parity.judging.verdict import judge
from edgeferry.benchmarks.parity.rows import Report, Row
from edgeferry.benchmarks.report.report import read_report, write_report
from edgeferry.benchmarks.report.terminal import print_table
from edgeferry.models.artifact import Artifact, Tolerance
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.places import ROOT

TOY: Final = """
from edgeferry.benchmarks.parity.judging.metric import Metric

METRICS = (
    Metric(
        name="first_class",
        title="first class",
        short="first\\nclass",
        meaning="The mean probability of the first class.",
        compute=lambda probabilities, expected: probabilities[:, 0].mean(),
        tolerance={tolerance!r},
        direction={direction!r},
    ),
    Metric("absent", "absent", "ab-\\nsent", "It never has a value.", lambda probabilities, expected: None),
)
"""
EVERY: Final = list(metrics())


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return what adds a module with two metrics to the registry, in a folder of its own."""
    monkeypatch.setattr(edgeferry.benchmarks, "__path__", [*edgeferry.benchmarks.__path__, str(tmp_path / "more")])

    def add(tolerance: str | None = None, direction: str = "at_most") -> None:
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "toy_metric.py").write_text(TOY.format(tolerance=tolerance, direction=direction))
        metrics.cache_clear()

    yield add
    sys.modules.pop("edgeferry.benchmarks.toy_metric", None)
    metrics.cache_clear()


def expected(count: int = 100) -> Expected:
    """Return scores of three classes, the true one at 0.8."""
    classes = np.arange(count) % 3
    probabilities = np.full((count, 3), 0.1, dtype=np.float32)
    probabilities[np.arange(count), classes] = 0.8
    return Expected(probabilities, classes, ("a", "b", "c"))


def artifact(tolerance: Tolerance) -> Artifact:
    """Return an artifact of no files with a tolerance."""
    form = Preprocessing(1, 1, "gray", (0.0,), (1.0,))
    return Artifact("toy-float32", "toy", "model", "0", (), (), "probabilities", ("a", "b", "c"), form, tolerance, {}, "")


def report_of(row: Row) -> Report:
    return Report("toy", "0" * 64, 100, 1.0, (row,), {}, {}, "2026-11-27T18:40:12+00:00")


def printed(report: Report, width: int) -> str:
    file = io.StringIO()
    print_table(report, Console(file=file, width=width, force_terminal=True, color_system=None), every_row=True)
    return file.getvalue()


def test_an_added_metric_is_in_the_verdict_the_table_markdown_the_page_and_json(added: Any, tmp_path: Path) -> None:
    added()
    verdict = judge(expected().probabilities, None, artifact(Tolerance(1, 0, 0, "the same")), expected())
    assert list(verdict.metrics) == [*EVERY, "absent", "first_class"]
    assert verdict.metrics["first_class"] == pytest.approx(0.338)
    assert verdict.metrics["absent"] is None
    report = report_of(Row("toy-float32", "litert", verdict))
    write_report(report, tmp_path)
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    schema = json.loads((ROOT / "benchmarks" / "parity" / "report.schema.json").read_text(encoding="utf-8"))
    assert list(Draft202012Validator(schema).iter_errors(record)) == []
    assert record["rows"][0]["verdict"]["metrics"] == verdict.metrics
    assert read_report(tmp_path / "report.json") == report
    markdown, page = ((tmp_path / f"report.{form}").read_text(encoding="utf-8") for form in ("md", "html"))
    assert "| absent | first class |" in markdown
    assert "| - | 0.338 |" in markdown
    assert re.search(r"<dt>First class</dt><dd>0\.338</dd>", page)
    assert "First class: the mean probability of the first class." in page
    assert "0.338" in printed(report, 200)


def test_a_narrow_terminal_leaves_an_added_metric_out_first(added: Any) -> None:
    added()
    verdict = judge(expected().probabilities, None, artifact(Tolerance(1, 0, 0, "the same")), expected())
    row = replace(Row("coreml-palettized4", "onnxruntime-cpu", verdict), bytes=20_112_331, latency_ms_median=600.0)
    assert "first class; report.html has all" in " ".join(printed(report_of(row), 72).split())
    assert max(len(line.rstrip()) for line in printed(report_of(row), 72).splitlines()) <= 72


@pytest.mark.parametrize(
    ("direction", "limit", "outcome"),
    [("at_most", 0.4, "passed"), ("at_most", 0.3, "failed"), ("at_least", 0.3, "passed"), ("at_least", 0.4, "failed")],
)
def test_an_added_metric_is_checked_against_its_tolerance(added: Any, direction: str, limit: float, outcome: str) -> None:
    added("mean_difference", direction)
    verdict = judge(expected().probabilities, None, artifact(Tolerance(1, 0, limit, "a limit")), expected())
    assert verdict.outcome == outcome
    if outcome == "failed":
        assert verdict.reason == f"first class is 0.338; expected {direction.replace('_', ' ')} {limit}"


@pytest.mark.parametrize("value", [None, float("nan")])
@pytest.mark.parametrize("direction", ["at_least", "at_most"])
def test_a_value_that_is_no_number_is_not_within_any_tolerance(value: float | None, direction: Any) -> None:
    metric = Metric("x", "x", "x", "X.", lambda *_: value, tolerance="p99_difference", direction=direction)
    assert metric.problem(value, 8, Tolerance(1, 1, 1, ""))


def test_an_optional_metric_without_a_value_limits_nothing() -> None:
    metric = Metric("x", "x", "x", "X.", lambda *_: None, tolerance="p99_difference", is_optional=True)
    assert metric.problem(None, 8, Tolerance(1, 1, 1, "")) == ""
    assert metric.problem(2.0, 8, Tolerance(1, 1, 1, ""))


@pytest.mark.parametrize("name", EVERY)
def test_a_metric_s_tolerance_is_one_that_exists_and_can_fail(name: str) -> None:
    metric, rotated = metrics()[name], np.roll(expected().probabilities, 1, axis=1)
    against = replace(expected(), simulated=expected().probabilities + np.float32(0.01))
    value = metric.compute(rotated, against)
    exact = Tolerance(1, 0, 0, "the same", accuracy_loss=0, times_explained=1)
    assert metric.tolerance in {None, *(field.name for field in fields(Tolerance))}
    assert bool(metric.problem(value, 100, exact)) == (metric.tolerance is not None)
    assert metric.problem(metric.compute(expected().probabilities, against), 100, exact) == ""


@pytest.mark.parametrize("name", EVERY)
def test_a_metric_s_short_heading_is_narrow_and_its_meaning_a_sentence(name: str) -> None:
    metric = metrics()[name]
    assert max(map(len, metric.short.split("\n"))) <= 6
    assert re.fullmatch(r"[A-Z][^\n]+\.", metric.meaning)


def test_counts_are_shown_with_what_they_are_a_fraction_of() -> None:
    agreement = metrics()["top1_agreement"]
    assert agreement.cell(0.75, 8) == "75.0 % of 8"
    assert agreement.cell(1.0, 360) == "100 % of 360"
    assert agreement.cell(None, 360) == "-"
    assert agreement.problem(0.75, 8, Tolerance(1, 1, 1, "")) == "agreement is 6 of 8 images; expected at least 8"


def test_there_are_the_metrics_that_there_were() -> None:
    assert {"top1_agreement", "accuracy", "p99_difference", "mean_difference"} < set(EVERY)
