# SPDX-License-Identifier: Apache-2.0
"""Rows, what they add up to, and the schema that is published for them."""

import json
from dataclasses import fields
from typing import Any, get_args

import pytest

from edgeferry.benchmarks.parity.judging.metric import metrics
from edgeferry.benchmarks.parity.outcome import Outcome, Verdict
from edgeferry.benchmarks.parity.rows import SCHEMA, Report, Row, exit_status
from edgeferry.models.artifact import Tolerance
from edgeferry.models.system.places import ROOT

PUBLISHED: dict[str, Any] = json.loads((ROOT / "benchmarks" / "parity" / "report.schema.json").read_text(encoding="utf-8"))
ROW: dict[str, Any] = PUBLISHED["$defs"]["row"]
VERDICT: dict[str, Any] = PUBLISHED["$defs"]["verdict"]


def rows(*outcomes: Outcome) -> list[Row]:
    return [Row("tflite-int8", "litert", Verdict(outcome, "a reason")) for outcome in outcomes]


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        (("passed",), 0),
        (("passed", "not run", "not checked"), 0),
        (("passed", "failed"), 1),
        (("failed", "not run"), 1),
        (("not run",), 2),
        (("not checked", "not run"), 2),
        (("unsupported",), 2),
        (("inconclusive", "not run"), 2),
        (("inconclusive", "failed"), 1),
        (("inconclusive", "unsupported", "passed"), 0),
        ((), 2),
    ],
)
def test_the_exit_status_is_0_where_parity_held_1_where_not_2_where_nothing_was_checked(
    outcomes: tuple[Outcome, ...], status: int
) -> None:
    assert exit_status(rows(*outcomes)) == status


def test_the_published_schema_names_every_field_of_a_row_and_requires_it() -> None:
    names = {field.name for field in fields(Row)}
    assert set(ROW["properties"]) == names
    assert set(ROW["required"]) == names


def test_the_published_schema_names_every_field_of_a_verdict_and_requires_it() -> None:
    names = {field.name for field in fields(Verdict)}
    assert set(VERDICT["properties"]) == names
    assert set(VERDICT["required"]) == names


def test_the_published_schema_describes_metrics_as_the_registry_does() -> None:
    described = {name: rule["description"] for name, rule in VERDICT["properties"]["metrics"]["properties"].items()}
    assert described == {name: metric.meaning for name, metric in metrics().items()}


def test_the_published_schema_names_every_field_of_a_report_and_requires_it() -> None:
    names = {"schema"} | {field.name for field in fields(Report)}
    assert set(PUBLISHED["properties"]) == names
    assert set(PUBLISHED["required"]) == names


def test_the_published_schema_names_every_field_of_a_tolerance() -> None:
    assert set(PUBLISHED["$defs"]["tolerance"]["properties"]) == {field.name for field in fields(Tolerance)}


def test_the_published_schema_has_every_outcome() -> None:
    assert VERDICT["properties"]["outcome"]["enum"] == list(get_args(Outcome))


def test_the_published_schema_has_the_number_that_reports_carry() -> None:
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA
    assert PUBLISHED["$id"].endswith(f":{SCHEMA}")


def test_the_published_schema_allows_nothing_it_does_not_name() -> None:
    assert PUBLISHED["additionalProperties"] is False
    assert ROW["additionalProperties"] is False
    assert VERDICT["additionalProperties"] is False
