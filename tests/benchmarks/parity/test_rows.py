# SPDX-License-Identifier: Apache-2.0
"""Rows, what they add up to, and the schema that is published for them."""

import json
from dataclasses import fields
from typing import Any, get_args

import pytest

from edgeferry.benchmarks.parity.rows import SCHEMA, Outcome, Report, Row, exit_status
from edgeferry.models.artifact import Tolerance
from edgeferry.models.system.places import ROOT

PUBLISHED: dict[str, Any] = json.loads((ROOT / "benchmarks" / "parity" / "report.schema.json").read_text(encoding="utf-8"))
ROW: dict[str, Any] = PUBLISHED["$defs"]["row"]


def rows(*outcomes: Outcome) -> list[Row]:
    return [Row("tflite-int8", "litert", outcome, "a reason") for outcome in outcomes]


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        (("passed",), 0),
        (("passed", "not run", "not checked"), 0),
        (("passed", "failed"), 1),
        (("failed", "not run"), 1),
        (("not run",), 2),
        (("not checked", "not run"), 2),
        ((), 2),
    ],
)
def test_exit_status_tells_held_from_broken_from_unchecked(outcomes: tuple[Outcome, ...], status: int) -> None:
    assert exit_status(rows(*outcomes)) == status


def test_the_published_schema_names_every_field_of_a_row_and_requires_it() -> None:
    names = {field.name for field in fields(Row)}
    assert set(ROW["properties"]) == names
    assert set(ROW["required"]) == names


def test_the_published_schema_names_every_field_of_a_report_and_requires_it() -> None:
    names = {"schema"} | {field.name for field in fields(Report)}
    assert set(PUBLISHED["properties"]) == names
    assert set(PUBLISHED["required"]) == names


def test_the_published_schema_names_every_field_of_a_tolerance() -> None:
    assert set(PUBLISHED["$defs"]["tolerance"]["properties"]) == {field.name for field in fields(Tolerance)}


def test_the_published_schema_knows_the_four_outcomes() -> None:
    assert ROW["properties"]["outcome"]["enum"] == list(get_args(Outcome))


def test_the_published_schema_has_the_number_that_reports_carry() -> None:
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA
    assert PUBLISHED["$id"].endswith(f":{SCHEMA}")


def test_the_published_schema_allows_nothing_it_does_not_name() -> None:
    assert PUBLISHED["additionalProperties"] is False
    assert ROW["additionalProperties"] is False
