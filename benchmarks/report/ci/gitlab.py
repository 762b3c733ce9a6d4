# SPDX-License-Identifier: Apache-2.0
"""What did not pass as GitLab's code quality report: a merge request shows what is new in it and what is fixed.

Format: docs.gitlab.com/ci/testing/code_quality, "Code Quality report format".
"""

import json
import os
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.rows import NO_TARGET, Report
from edgeferry.benchmarks.report.ci.case import Case, cases_of
from edgeferry.benchmarks.report.ci.output import CiOutput
from edgeferry.models.system.files import digest
from edgeferry.models.system.text import plain

# What was not run or is unsupported here is no finding about the code.
FINDINGS: Final = frozenset({"inconclusive", "not checked"})
# The folder of the job's checkout, from which GitLab counts paths.
PROJECT: Final = "CI_PROJECT_DIR"


def report_as_code_quality(report: Report, build: Path) -> str:
    """Return what failed, is inconclusive or was not checked; an empty list where all passed. ``build`` is the model's folder."""
    found = [case for case in cases_of(report) if case.state == "failed" or case.outcome in FINDINGS]
    return json.dumps([_finding(case, report.model, build) for case in found], indent=2) + "\n"


def _finding(case: Case, model: str, build: Path) -> dict[str, Any]:
    where = case.format if case.target == NO_TARGET else f"{case.format} on {case.target}"
    return {
        "description": f"{plain(model)}: {where}: {case.message}",
        "check_name": case.code or f"edgeferry {case.outcome}",
        # The same finding in two jobs has the same fingerprint, whatever its numbers.
        "fingerprint": digest([plain(model), case.format, case.target, case.outcome, case.code]),
        "severity": "critical" if case.state == "failed" else "minor",
        "location": {"path": _path_of(build, case.format), "lines": {"begin": 1}},
    }


def _path_of(build: Path, form: str) -> str:
    """Return an artifact's manifest as GitLab names files: relative to the checkout."""
    project = Path(os.environ.get(PROJECT) or Path.cwd()).resolve()
    manifest = build.resolve() / form / "manifest.json"
    return (manifest.relative_to(project) if manifest.is_relative_to(project) else Path(*manifest.parts[-3:])).as_posix()


OUTPUTS = (
    CiOutput("gitlab", "Write what did not pass to this file, as GitLab's code quality report (JSON).", report_as_code_quality),
)
