# SPDX-License-Identifier: Apache-2.0
"""What is different between two certificates, without the artifacts themselves: outcomes, sizes, tools and options."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.certificate.certificate import Certificate, read_certificate
from edgeferry.benchmarks.diff.changes import ABSENT
from edgeferry.benchmarks.diff.result import BuildDiff, Change, DiffState, ResultDiff
from edgeferry.benchmarks.report.summary import said

PIXELS: Final = "reference/pixels.npy"


def diff_of_certificates(old: Path, new: Path) -> BuildDiff:
    """Return how what a certificate says differs from an older one; nothing is run.

    Raises:
        EdgeError: a file is no certificate.
    """
    was, now = read_certificate(old), read_certificate(new)
    pairs = {key: (_of(was, key), _of(now, key)) for key in sorted({*_keys(was), *_keys(now)})}
    return BuildDiff(
        old=str(old),
        new=str(new),
        same_model=was.source_sha256 == now.source_sha256,
        same_golden_images=was.files.get(PIXELS) == now.files.get(PIXELS),
        images=now.golden_images,
        labels=now.labels,
        results=tuple(_compared(key, *pair, was, now) for key, pair in pairs.items() if all(pair)),
        changes=tuple(_changes(was, now)),
        only_old=tuple(sorted(set(was.artifacts) - set(now.artifacts))),
        only_new=tuple(sorted(set(now.artifacts) - set(was.artifacts))),
    )


def _keys(certificate: Certificate) -> list[tuple[str, str]]:
    return [(str(each.get("format")), str(each.get("target"))) for each in certificate.results]


def _of(certificate: Certificate, key: tuple[str, str]) -> Mapping[str, Any]:
    return next((each for each in certificate.results if (each.get("format"), each.get("target")) == key), {})


def _compared(
    key: tuple[str, str], old: Mapping[str, Any], new: Mapping[str, Any], was: Certificate, now: Certificate
) -> ResultDiff:
    form, target = key
    before, after = str(old.get("outcome")), str(new.get("outcome"))
    is_same_file = old.get("artifact_sha256") == new.get("artifact_sha256")
    state: DiffState = "same" if is_same_file else "changed"
    if before != after:
        state = "worse" if before == "passed" else "better" if after == "passed" else "changed"
    why = "the same file" if is_same_file else "another file"
    return ResultDiff(
        form,
        target,
        state,
        f"{why}; it was {before}" if before == after else f"{why}; it was {before} and is {after}: {new.get('reason')}",
        old_bytes=_bytes(was, form),
        new_bytes=_bytes(now, form),
    )


def _bytes(certificate: Certificate, form: str) -> int | None:
    value = certificate.artifacts.get(form, {}).get("bytes")
    return value if isinstance(value, int) else None


def _changes(was: Certificate, now: Certificate) -> Iterator[Change]:
    for form in sorted(set(was.artifacts) & set(now.artifacts)):
        for kind, name in (("tools", "tool"), ("options", "option")):
            old, new = (dict(each.artifacts[form].get(kind, {})) for each in (was, now))
            for key in sorted({*old, *new}):
                if old.get(key) != new.get(key):
                    yield Change(form, f"{name} {key}", said(old.get(key, ABSENT)), said(new.get(key, ABSENT)))
