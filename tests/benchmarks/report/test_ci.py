# SPDX-License-Identifier: Apache-2.0
"""The forms of a report that CI systems read."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from edgeferry.benchmarks.parity.outcome import OUTCOMES, Verdict
from edgeferry.benchmarks.parity.required import unmet
from edgeferry.benchmarks.parity.rows import Report, Row
from edgeferry.benchmarks.report.ci.case import cases_of
from edgeferry.benchmarks.report.ci.github import annotations, append_step_summary
from edgeferry.benchmarks.report.ci.gitlab import report_as_code_quality
from edgeferry.benchmarks.report.ci.junit import report_as_junit
from edgeferry.benchmarks.report.ci.output import ci_outputs
from edgeferry.benchmarks.report.ci.pull_request import MOST_CHARACTERS, report_as_summary

EVIL: Final = "]]> <b>&amp;</b> \"'| %0A::error::x, y: \x00\x1b[2J\ud800\ufffe\r\nnext `line` <script>"
# Per element: the attributes it has to have, those it may have, and its children in order ('?' at most one, '*' any number).
# Ant's schema, the stricter of both: github.com/windyroad/JUnit-Schema, JUnit.xsd.
JUNIT: Final = {
    "testsuites": ((), (), "(testsuite )*"),
    "testsuite": (
        ("name", "package", "id", "tests", "failures", "errors", "time", "timestamp", "hostname"),
        ("skipped",),
        "properties (testcase )*system-out system-err ",
    ),
    "properties": ((), (), "(property )*"),
    "property": (("name", "value"), (), ""),
    "testcase": (("classname", "name", "time"), (), "((skipped|error|failure) )?"),
    "skipped": ((), ("message",), ""),
    "failure": (("type",), ("message",), ""),
    "system-out": ((), (), ""),
    "system-err": ((), (), ""),
}
VALUES: Final = {
    "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
    **dict.fromkeys(("id", "tests", "failures", "errors", "skipped"), r"\d+"),
    "time": r"\d+(\.\d+)?",
    **dict.fromkeys(("name", "classname", "hostname", "package", "type"), r".+"),
}


def violations(element: ET.Element) -> list[str]:
    """Return what a JUnit file holds that the schema does not allow, or lacks that it demands."""
    if element.tag not in JUNIT:
        return [f"unknown element {element.tag}"]
    needed, allowed, children = JUNIT[element.tag]
    names = set(element.attrib)
    found = [f"{element.tag} lacks {name}" for name in set(needed) - names]
    found += [f"{element.tag} has {name}" for name in names - {*needed, *allowed}]
    found += [
        f"{name}={value!r}"
        for name, value in element.attrib.items()
        if not re.fullmatch(VALUES.get(name, ".*"), value, re.DOTALL)
    ]
    inner = "".join(f"{child.tag} " for child in element)
    found += [] if re.fullmatch(children, inner) else [f"{element.tag} holds {inner}"]
    return found + [each for child in element for each in violations(child)]


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - it was written here


def report_of(*rows: Row, required: tuple[str, ...] = ()) -> Report:
    missing = tuple(unmet(rows, required))
    created = "2026-11-23T18:40:12+00:00"
    return Report("digits", "9c1f" * 16, 360, 0.98, rows, {}, {"keras": "3.15.1"}, created, required=required, unmet=missing)


def row(outcome: str, form: str = "tflite-int8", target: str = "litert", reason: str = "because") -> Row:
    return Row(form, target, Verdict(outcome, reason, "EF-some-code" if outcome == "failed" else None, images=360))


@pytest.fixture
def every() -> Report:
    """Return a report with every outcome."""
    return report_of(*(row(outcome, target=f"target-{number}") for number, outcome in enumerate(OUTCOMES)))


@pytest.fixture
def hostile() -> Report:
    """Return a report whose every text would like to be markup or a command."""
    rows = (Row(EVIL, EVIL, Verdict(outcome, EVIL, EVIL)) for outcome in OUTCOMES)
    return replace(report_of(*rows, required=(EVIL,)), model=EVIL, tool_versions={EVIL: EVIL}, source_sha256=EVIL)


def states(report: Report) -> dict[str, str]:
    return {case.outcome: case.state for case in cases_of(report)}


# What counts as failed


def test_only_a_failure_fails_where_nothing_is_required(every: Report) -> None:
    skipped = dict.fromkeys(("inconclusive", "unsupported", "not run", "not checked"), "skipped")
    assert states(every) == {"passed": "passed", "failed": "failed", **skipped}


@pytest.mark.parametrize("outcome", ["inconclusive", "not checked", "not run", "unsupported"])
def test_what_is_required_fails_unless_it_passed(outcome: str) -> None:
    assert states(report_of(row(outcome), required=("tflite-int8@litert",))) == {outcome: "failed"}


def test_a_required_format_that_passed_elsewhere_is_not_failed_by_a_target_that_is_absent() -> None:
    report = report_of(row("passed"), row("not run", target="board"), required=("tflite-int8",))
    assert states(report) == {"passed": "passed", "not run": "skipped"}


def test_a_requirement_without_a_result_is_a_failed_case() -> None:
    (case,) = cases_of(report_of(required=("onnx-float32",)))
    assert (case.format, case.state) == ("onnx-float32", "failed")


def test_a_result_that_is_out_of_date_is_skipped() -> None:
    (case,) = cases_of(report_of(replace(row("failed"), outdated="exported again since")))
    assert (case.state, "out of date" in case.message) == ("skipped", True)


# JUnit


@pytest.mark.parametrize("name", ["every", "hostile"])
def test_junit_follows_the_schema(name: str, request: pytest.FixtureRequest) -> None:
    assert violations(parsed(report_as_junit(request.getfixturevalue(name)))) == []


def test_the_schema_finds_what_is_wrong(every: Report) -> None:
    text = report_as_junit(every)
    for right, wrong in (("failure", "fail"), (' classname="', ' class="'), ("T18:40:12", "T18:40:12Z"), ("<system-err />", "")):
        assert violations(parsed(text.replace(right, wrong)))


def test_junit_names_the_reason_and_the_code(every: Report) -> None:
    failure = parsed(report_as_junit(every)).find(".//testcase[@classname='target-1']/failure")
    assert failure is not None
    assert failure.attrib == {"message": "failed: because [EF-some-code]", "type": "EF-some-code"}


def test_junit_counts_what_it_holds(every: Report) -> None:
    suite = parsed(report_as_junit(every)).find("testsuite")
    assert suite is not None
    counted = {"tests": len(suite.findall("testcase")), "failures": len(suite.findall(".//failure"))}
    counted["skipped"] = len(suite.findall(".//skipped"))
    assert {name: int(suite.attrib[name]) for name in counted} == counted == {"tests": 6, "failures": 1, "skipped": 4}


# GitLab


def test_gitlab_shows_what_failed_and_what_was_not_decided(every: Report, tmp_path: Path) -> None:
    found = json.loads(report_as_code_quality(every, tmp_path / "build" / "digits"))
    assert [each["severity"] for each in found] == ["critical", "minor", "minor"]


def test_gitlab_findings_have_every_field_and_fingerprints_of_their_own(every: Report, tmp_path: Path) -> None:
    found = json.loads(report_as_code_quality(every, tmp_path))
    assert all({"description", "check_name", "fingerprint", "severity", "location"} == set(each) for each in found)
    assert len({each["fingerprint"] for each in found}) == len(found)


def test_gitlab_paths_begin_at_the_checkout(every: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_PROJECT_DIR", str(tmp_path))
    found = json.loads(report_as_code_quality(every, tmp_path / "build" / "digits"))
    assert found[0]["location"]["path"] == "build/digits/tflite-int8/manifest.json"


# The summary


def test_the_summary_names_failures_first_and_folds_what_was_not_run(every: Report) -> None:
    text = report_as_summary(every)
    places = [text.index(part) for part in ("**Failed**", "**Inconclusive**", "<details><summary>Not run here")]
    assert places == sorted(places)


def test_the_summary_of_many_rows_fits_a_comment_and_counts_what_is_left_out() -> None:
    rows = [row(outcome, f"f{number}", reason=f"{number} {'because ' * 200}") for number in range(400) for outcome in OUTCOMES]
    text = report_as_summary(report_of(*rows))
    assert len(text) < MOST_CHARACTERS + 100
    assert text.count("<details>") == text.count("</details>")
    assert re.search(r"\d+ more in report\.md\.", text)


def test_no_text_is_markup_in_the_summary(hostile: Report) -> None:
    text = report_as_summary(hostile)
    assert "<script>" not in text.replace("\\<", "")
    assert not re.search(r"(?<!\\)<(?!/?details>|/?summary>)", text)


# GitHub


def test_nothing_is_annotated_outside_of_github(every: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert not list(annotations(every))


def test_a_failure_is_an_error_and_too_little_evidence_a_warning(every: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert list(annotations(every)) == [
        "::error title=digits%3A tflite-int8 on target-1 failed::because [EF-some-code]",
        "::warning title=digits%3A tflite-int8 on target-2 inconclusive::because",
    ]


def test_an_annotation_is_one_line_whose_title_ends_where_it_should(hostile: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    found = list(annotations(hostile))
    assert found
    for line in found:
        assert line.isprintable()
        assert re.fullmatch(r"::(error|warning) title=[^:,]*::.*", line)
        assert "%0A" not in line.replace("%250A", "")


def test_the_step_summary_is_appended(every: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    append_step_summary(every)
    assert file.read_text() == f"before\n{report_as_summary(every)}\n"


def test_every_output_is_an_option_and_can_be_written(hostile: Report, tmp_path: Path) -> None:
    assert list(ci_outputs()) == ["gitlab", "junit", "summary"]
    assert all(output.text(hostile, tmp_path).encode() for output in ci_outputs().values())


def test_junit_says_how_long_each_check_took(every: Report) -> None:
    timed = replace(every, rows=tuple(replace(row, seconds=1.5) for row in every.rows))
    suite = parsed(report_as_junit(timed)).find("testsuite")
    assert suite is not None
    assert {each.get("time") for each in suite.findall("testcase")} == {"1.500"}
    assert suite.get("time") == f"{1.5 * len(every.rows):.3f}"
