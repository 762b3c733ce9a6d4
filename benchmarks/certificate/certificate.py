# SPDX-License-Identifier: Apache-2.0
"""The certificate of a build folder, ``certificate.json``: source, data, artifacts, tools and every verdict with its evidence.

It follows from the build folder alone: the same folder gives the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.certificate.log import last_digest
from edgeferry.benchmarks.parity.rows import REPORT, Row, cleaned, exit_status
from edgeferry.benchmarks.report.report import read_report
from edgeferry.benchmarks.selftest.result import SELFTEST
from edgeferry.models.artifact import MANIFEST, read_artifact
from edgeferry.models.reference import REFERENCE, read_reference
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of

# History: 1, the first. Its JSON Schema is certificate.schema.json.
SCHEMA: Final = 1
CERTIFICATE: Final = "certificate.json"
VERDICTS: Final = ("passed", "failed", "nothing checked")
MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class Certificate:
    """What was certified of a build; all digests are sha256.

    ``verdict`` says what the results add up to. ``files`` maps the name of every file below the build folder that a verdict
    follows from to its digest. ``artifacts`` holds each format's digest, size and tools; ``results`` the verdict of every
    artifact on every target with its evidence and environment, what is out of date left out. ``selftest`` is the digest of
    selftest.json, None where none was made. ``log`` is the digest of the last line of the audit trail before this certificate.
    """

    model: str
    verdict: str
    source_sha256: str
    golden_images: int
    reference_accuracy: float | None
    labels: tuple[str, ...]
    required: tuple[str, ...]
    unmet: tuple[str, ...]
    machine: Mapping[str, Any]
    tools: Mapping[str, str]
    artifacts: Mapping[str, Mapping[str, Any]]
    results: tuple[Mapping[str, Any], ...]
    files: Mapping[str, str]
    selftest: str | None
    log: str

    def text(self) -> str:
        """Return certificate.json."""
        return json.dumps({"schema": SCHEMA, **asdict(cleaned(self))}, indent=2, ensure_ascii=False) + "\n"


def certificate_of(build: Path) -> Certificate:
    """Return the certificate of what a build folder's last report says.

    Raises:
        EdgeError: nothing was checked there yet, or the reference is damaged.
    """
    report, reference = read_report(build / REPORT), read_reference(build / REFERENCE)
    if reference is None:
        raise EdgeError("EF-reference-missing", f"{build} holds no reference; export the model first with `make export-all`.")
    rows = [row for row in report.rows if not row.outdated]
    formats = sorted({row.format for row in rows if (build / row.format / MANIFEST).is_file()})
    artifacts = {name: read_artifact(build / name) for name in formats}
    # A bundle holds no calibration images.
    present = {name: each for name, each in sorted(reference.files.items()) if (build / REFERENCE / name).is_file()}
    files = {f"{REFERENCE}/{name}": each for name, each in present.items()}
    for name, artifact in artifacts.items():
        files |= {f"{name}/{each}": str(facts["sha256"]) for each, facts in sorted(artifact.files.items())}
        files[f"{name}/{MANIFEST}"] = sha256_of(build / name / MANIFEST)
    return Certificate(
        model=report.model,
        verdict=VERDICTS[exit_status(report.rows, report.unmet)],
        source_sha256=report.source_sha256,
        golden_images=report.images,
        reference_accuracy=report.reference_accuracy,
        labels=report.labels,
        required=report.required,
        unmet=report.unmet,
        machine=report.machine,
        tools=report.tool_versions,
        artifacts={
            name: {"sha256": each.sha256, "bytes": each.bytes, "tools": dict(each.tool_versions), "options": dict(each.options)}
            for name, each in artifacts.items()
        },
        results=tuple(_result(row) for row in rows),
        files=files,
        selftest=sha256_of(build / SELFTEST) if (build / SELFTEST).is_file() else None,
        log=last_digest(build),
    )


def _result(row: Row) -> dict[str, Any]:
    return {
        "format": row.format,
        "target": row.target,
        "outcome": row.outcome,
        "reason": row.reason,
        "images": row.verdict.images,
        "metrics": dict(row.verdict.metrics),
        "tolerance": None if row.tolerance is None else asdict(row.tolerance),
        "artifact_sha256": row.artifact_sha256,
        "environment": dict(row.environment),
        "checked": row.checked,
    }


def read_certificate(path: Path) -> Certificate:
    """Return the certificate in a file, which anybody may have written.

    Raises:
        EdgeError: there is none, it is no certificate, or another release wrote it.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")  # noqa: TRY301 - one sentence for all that is wrong
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("schema") != SCHEMA or set(found) != {each.name for each in fields(Certificate)}:
            raise ValueError("its fields are not those of a certificate of this release")  # noqa: TRY301 - as above
        certificate = Certificate(
            **{**found, **{name: tuple(found[name]) for name in ("labels", "required", "unmet", "results")}}
        )
        if not all(isinstance(each, Mapping) for each in (certificate.files, certificate.artifacts, *certificate.results)):
            raise ValueError("its fields hold something else than a certificate's")  # noqa: TRY301 - as above
    except OSError as error:
        raise EdgeError("EF-certificate", f"cannot read {path}: {error.strerror}. `edgeferry certify` writes it.") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EdgeError("EF-certificate", f"{path}: is no certificate: {error}. `edgeferry certify` writes one.") from None
    return certificate


def statement_of(certificate: Certificate) -> dict[str, Any]:
    """Return the verdict as an in-toto statement about the artifacts, with the predicate "test result" 0.1."""
    named = {(each["format"], each["target"]): each["outcome"] for each in certificate.results}

    def tests(*outcomes: str) -> list[str]:
        return [f"{form}@{target}" for (form, target), outcome in named.items() if outcome in outcomes]

    result = {"passed": "PASSED", "failed": "FAILED"}.get(certificate.verdict, "WARNED")
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": each}} for name, each in certificate.files.items()],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {
            "result": result,
            "configuration": [{"name": certificate.model, "digest": {"sha256": certificate.source_sha256}}],
            "passedTests": tests("passed"),
            "warnedTests": tests("inconclusive", "not checked", "unsupported", "not run"),
            "failedTests": tests("failed"),
        },
    }
