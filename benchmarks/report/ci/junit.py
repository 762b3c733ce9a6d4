# SPDX-License-Identifier: Apache-2.0
"""The report as JUnit XML, which Jenkins, GitLab, Azure, CircleCI and others read: one test case for every row.

It is valid by both schemas in use: Ant's (github.com/windyroad/JUnit-Schema), the stricter one, and Jenkins' (junit-10.xsd).
"""

import platform
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from edgeferry.benchmarks.parity.rows import Report
from edgeferry.benchmarks.report.ci.case import Case, cases_of
from edgeferry.benchmarks.report.ci.output import CiOutput
from edgeferry.benchmarks.report.summary import summary
from edgeferry.models.system.text import plain

# Ant's schema takes no offset from UTC: 2026-11-23T18:40:12.
SECONDS: Final = len("2026-11-23T18:40:12")


def report_as_junit(report: Report, _build: Path | None = None) -> str:
    """Return a report as JUnit XML: a case's class is the target, its name the format.

    What was not run, is unsupported, was not checked or is inconclusive is skipped with its reason, or fails where it is
    required to pass.
    """
    cases = cases_of(report)
    states = [case.state for case in cases]
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root,
        "testsuite",
        name=plain(report.model) or "model",
        package="edgeferry",
        id="0",
        tests=str(len(cases)),
        failures=str(states.count("failed")),
        errors="0",
        skipped=str(states.count("skipped")),
        time=_seconds(sum(case.seconds for case in cases)),
        timestamp=plain(report.created)[:SECONDS],
        hostname=plain(platform.node()) or "localhost",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in {"model sha256": report.source_sha256, **report.tool_versions}.items():
        ET.SubElement(properties, "property", name=plain(name) or "-", value=plain(str(value)))
    for case in cases:
        _add(suite, case)
    ET.SubElement(suite, "system-out").text = plain(summary(report))
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(('<?xml version="1.0" encoding="UTF-8"?>\n', "\n"))


def _add(suite: ET.Element, case: Case) -> None:
    element = ET.SubElement(suite, "testcase", classname=case.target, name=case.format, time=_seconds(case.seconds))
    if case.state == "skipped":
        ET.SubElement(element, "skipped", message=case.message)
    elif case.state == "failed":
        ET.SubElement(element, "failure", message=case.message, type=case.code or case.outcome).text = case.message


def _seconds(seconds: float) -> str:
    """Return how long something took; Ant's schema demands a number, also of what did not run."""
    return f"{seconds:.3f}"


OUTPUTS = (CiOutput("junit", "Write the results as JUnit XML to this file.", report_as_junit),)
