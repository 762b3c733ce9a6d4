# SPDX-License-Identifier: Apache-2.0
import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from edgeferry.benchmarks.fleet.history import before, opened, record
from edgeferry.benchmarks.fleet.scorecard import ModelScores, Score, Scorecard, card_of, read_scores, scorecard, state_of
from edgeferry.benchmarks.fleet.scorecard_page import print_scorecard, scorecard_as_html
from edgeferry.benchmarks.latency.ratio import Ratio
from edgeferry.benchmarks.latency.records import BaselineRatio, Case, Latencies, write_latencies
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.rows import REPORT, Report, Row
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_json
from edgeferry.models.system.places import ROOT

PASSED: Final = Score("tflite-int8", "litert", "passed", "", 360, 0.99, 0.98, 40_000, 0.5, "a" * 64)
FAILED: Final = replace(PASSED, outcome="failed", reason="p99 difference 0.4", agreement=0.7)
ABSENT: Final = replace(PASSED, outcome="not run", images=None, agreement=None, accuracy=None)


def scores(name: str, *found: Score, created: str = "2026-11-28T10:00:00+00:00") -> ModelScores:
    return ModelScores(name, created, found)


def seen(path: Path, *models: ModelScores) -> Scorecard:
    """Return the card of some models, compared with a history and added to it, as the command does."""
    with opened(path) as history:
        cards = [card_of(model, before(history, model)) for model in models]
        for model in models:
            record(history, model)
    return scorecard(cards)


def states(card: Scorecard) -> list[tuple[str, str, str]]:
    return [(model.name, each.now.format, each.state) for model, each in card.changes()]


@pytest.mark.parametrize(
    ("now", "was", "state"),
    [
        (FAILED, PASSED, "worse"),
        (replace(PASSED, outcome="inconclusive"), PASSED, "worse"),
        (FAILED, replace(PASSED, outcome="inconclusive"), "worse"),
        (PASSED, FAILED, "better"),
        (ABSENT, PASSED, "gone"),
        (PASSED, ABSENT, "new"),
        (PASSED, None, "new"),
        (ABSENT, None, "same"),
        (replace(PASSED, bytes=50_000), PASSED, "changed"),
        (replace(PASSED, latency_ratio=0.9), PASSED, "changed"),
        (replace(PASSED, reason="other words"), PASSED, "same"),
    ],
)
def test_what_changed_has_a_word(now: Score, was: Score | None, state: str) -> None:
    assert state_of(now, was, scores("a")) == state


def test_a_regression_stands_before_what_failed_before_and_that_before_the_rest(tmp_path: Path) -> None:
    other = replace(PASSED, format="onnx-float32")
    seen(tmp_path / "s.sqlite", scores("alpha", PASSED, other), scores("beta", FAILED, other), scores("gamma", PASSED))
    card = seen(tmp_path / "s.sqlite", scores("alpha", FAILED, other), scores("beta", FAILED, other), scores("gamma", PASSED))
    assert states(card)[:2] == [("alpha", "tflite-int8", "worse"), ("beta", "tflite-int8", "same")]
    assert [model.name for model in card.models] == ["alpha", "beta", "gamma"]
    assert card.exit_status == 1


def test_looking_again_shows_the_same_changes_and_records_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    seen(path, scores("alpha", PASSED))
    first, second = (seen(path, scores("alpha", FAILED, created="later")) for _ in range(2))
    assert first == second
    assert states(second) == [("alpha", "tflite-int8", "worse")]
    with sqlite3.connect(path) as history:
        assert history.execute("SELECT count(*) FROM reports").fetchone() == (2,)


def test_a_result_that_left_the_report_is_shown_as_gone(tmp_path: Path) -> None:
    seen(tmp_path / "s.sqlite", scores("alpha", PASSED, replace(PASSED, format="onnx-float32")))
    card = seen(tmp_path / "s.sqlite", scores("alpha", PASSED))
    assert states(card)[0] == ("alpha", "onnx-float32", "gone")


@pytest.mark.parametrize(
    "statement", ["DELETE FROM results", "UPDATE reports SET model = 'x'", "UPDATE results SET outcome = 'passed'"]
)
def test_the_history_only_grows(tmp_path: Path, statement: str) -> None:
    seen(tmp_path / "s.sqlite", scores("alpha", PASSED))
    with sqlite3.connect(tmp_path / "s.sqlite") as history, pytest.raises(sqlite3.IntegrityError, match="only grows"):
        history.execute(statement)


def test_the_query_in_the_documentation_answers(tmp_path: Path) -> None:
    (query,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8"), re.DOTALL)
    seen(tmp_path / "s.sqlite", scores("alpha", PASSED))
    seen(tmp_path / "s.sqlite", scores("alpha", replace(PASSED, bytes=50_000), created="later"))
    with sqlite3.connect(tmp_path / "s.sqlite") as history:
        assert len(history.execute(query).fetchall()) == 2


@pytest.mark.parametrize("text", ["", "no database"])
def test_a_file_that_is_no_history_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.sqlite"
    if text:
        path.write_text(text * 100, encoding="utf-8")
    else:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE mine (x)")
        other.close()
    kept = path.read_bytes()
    with pytest.raises(EdgeError, check=lambda error: error.code.startswith("EF-scorecard-")):
        seen(path, scores("alpha", PASSED))
    assert path.read_bytes() == kept


def test_a_card_fits_its_schema(tmp_path: Path) -> None:
    seen(tmp_path / "s.sqlite", scores("alpha", PASSED, ABSENT.__class__(**{**vars(ABSENT), "format": "keras"})))
    card = seen(tmp_path / "s.sqlite", scores("alpha", FAILED))
    schema = json.loads((ROOT / "benchmarks" / "fleet" / "scorecard.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads(json.dumps(card.as_json())))


def test_the_terminal_shows_regressions_first_within_80_columns(tmp_path: Path) -> None:
    seen(tmp_path / "s.sqlite", scores("alpha", PASSED), scores("beta", PASSED))
    console = Console(width=80, force_terminal=True, color_system=None, record=True, file=(tmp_path / "out").open("w"))
    print_scorecard(seen(tmp_path / "s.sqlite", scores("alpha", PASSED), scores("beta", FAILED)), console)
    lines = console.export_text().splitlines()
    assert lines[0].startswith("worse: beta: tflite-int8 on litert: passed -> failed")
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("beta   failed") for line in lines)


def test_the_page_has_every_measured_result_and_escapes_names(tmp_path: Path) -> None:
    page = scorecard_as_html(seen(tmp_path / "s.sqlite", scores("<b>alpha", PASSED, replace(ABSENT, format="keras"))))
    assert "&lt;b&gt;alpha" in page
    assert "<b>alpha" not in page
    assert 'data-value="0.5"' in page
    assert ">keras<" not in page
    assert not re.search(r'(?:src|href)="https?:', page)


def test_scores_are_those_of_the_report_with_latency_ratios_of_the_same_artifact(tmp_path: Path) -> None:
    passed = Verdict("passed", "", images=360, metrics={"top1_agreement": 0.99, "accuracy": 0.98})
    row = Row("tflite-int8", "litert", passed, bytes=40_000, artifact_sha256="a" * 64)
    rows = (
        row,
        replace(row, format="onnx-float32", target="onnxruntime-cpu"),
        replace(row, format="keras", outdated="the code changed"),
    )
    write_json(tmp_path / REPORT, Report("alpha", "b" * 64, 360, 0.98, rows, {}, {}, "2026-11-28T10:00:00+00:00").as_json())
    cases = [_case("tflite-int8", "litert", "a"), _case("onnx-float32", "onnxruntime-cpu", "c")]
    ratios = [BaselineRatio(each.format, each.target, 1, Ratio(0.5, 0.4, 0.6), "CPU time", "faster") for each in cases]
    write_latencies(Latencies("alpha", "b" * 64, "", {}, 1, 1, cases, compared=ratios), tmp_path)
    found = {each.format: each for each in read_scores(tmp_path).scores}
    assert found["tflite-int8"] == PASSED
    # What was timed was another file.
    assert found["onnx-float32"].latency_ratio is None
    assert (found["keras"].outcome, found["keras"].reason) == ("not checked", "out of date: the code changed")


def _case(form: str, target: str, letter: str) -> Any:
    return Case(form, target, "measured", "", artifact_sha256=letter * 64)
