# SPDX-License-Identifier: Apache-2.0
"""Is a certificate still valid? Every digest in it is taken again, and the audit trail has to hold it."""

from collections.abc import Iterator
from pathlib import Path

from edgeferry.benchmarks.certificate.certificate import Certificate, certificate_of, read_certificate
from edgeferry.benchmarks.certificate.log import events
from edgeferry.benchmarks.selftest.result import SELFTEST
from edgeferry.models.bundle.archive import NAME
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of


def problems(path: Path, build: Path) -> list[str]:
    """Return in sentences what of a certificate is not valid for a build folder, nothing where all of it is.

    Raises:
        EdgeError: the file is no certificate.
    """
    certificate = read_certificate(path)
    return [*_of_log(path, certificate, build), *_of_files(certificate, build), *_of_results(certificate, build)]


def _of_log(path: Path, certificate: Certificate, build: Path) -> Iterator[str]:
    try:
        found = events(build)
    except ValueError as error:
        yield str(error)
        return
    sha256 = sha256_of(path)
    entry = next((each for each in found if each["event"] == "certified" and each["sha256"] == sha256), None)
    if entry is None:
        yield f"{path.name} is not the certificate that was written there: the audit trail does not hold its digest"
    elif entry["previous"] != certificate.log:
        yield f"{path.name} does not follow from the audit trail: another line stands before it"


def _of_files(certificate: Certificate, build: Path) -> Iterator[str]:
    for name, expected in certificate.files.items():
        if not isinstance(expected, str) or not NAME.fullmatch(name):
            yield f"{name!r:.80} is no name of a file with a digest"
        elif not (build / name).is_file():
            yield f"{name} is missing"
        elif sha256_of(build / name) != expected:
            yield f"{name} is not the file that was certified"
    if certificate.selftest is not None and not _is_same(build / SELFTEST, certificate.selftest):
        yield f"{SELFTEST} is not the self-test that was certified"


def _of_results(certificate: Certificate, build: Path) -> Iterator[str]:
    """Yield which results are no longer those of the last report, and what does not add up."""
    try:
        now = certificate_of(build)
    except EdgeError as error:
        yield f"the build folder says nothing any more: {error}"
        return
    was = {(each.get("format"), each.get("target")): each for each in certificate.results}
    current = {(each["format"], each["target"]): each for each in now.results}
    for (form, target), each in was.items():
        other = current.get((form, target))
        if other is None or other["outcome"] != each.get("outcome"):
            is_now = other["outcome"] if other else "not in the last report"
            yield f"{form} on {target} was {each.get('outcome')}, and is {is_now}"
    for name, value in (("verdict", now.verdict), ("source_sha256", now.source_sha256)):
        if getattr(certificate, name) != value:
            yield f"the {name.replace('_', ' ')} was {getattr(certificate, name)!s:.64}, and is {value}"


def _is_same(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256
