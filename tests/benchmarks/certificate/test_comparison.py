# SPDX-License-Identifier: Apache-2.0
"""Two certificates compared: what passed and no longer does is worse, and tools that changed are named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeferry.benchmarks.certificate.certificate import Certificate
from edgeferry.benchmarks.certificate.comparison import diff_of_certificates


def certificate(outcome: str = "passed", sha256: str = "a" * 64, tool: str = "9.0") -> Certificate:
    result: dict[str, Any] = {
        "format": "coreml-int8",
        "target": "coreml-reference",
        "outcome": outcome,
        "reason": "it says why",
        "artifact_sha256": sha256,
    }
    artifact = {"sha256": sha256, "bytes": 100, "tools": {"coremltools": tool}, "options": {}}
    files = {"reference/pixels.npy": "b" * 64}
    return Certificate(
        "my", "passed", "c" * 64, 9, None, ("a", "b"), (), (), {}, {}, {"coreml-int8": artifact}, (result,), files, None, "0" * 64
    )


def compared(folder: Path, old: Certificate, new: Certificate) -> Any:
    for name, each in (("old.json", old), ("new.json", new)):
        (folder / name).write_text(each.text(), encoding="utf-8")
    return diff_of_certificates(folder / "old.json", folder / "new.json")


def test_the_same_is_the_same(tmp_path: Path) -> None:
    found = compared(tmp_path, certificate(), certificate())
    assert (found.counts, found.changes, found.exit_status, found.same_model) == ({"same": 1}, (), 0, True)


def test_what_no_longer_passes_is_worse(tmp_path: Path) -> None:
    found = compared(tmp_path, certificate(), certificate("failed", "d" * 64, "10.0"))
    assert (found.counts, found.exit_status) == ({"worse": 1}, 1)
    assert [(each.what, each.old, each.new) for each in found.changes] == [("tool coremltools", "9.0", "10.0")]


def test_what_passes_now_is_better_and_another_model_is_said(tmp_path: Path) -> None:
    found = compared(tmp_path, certificate("failed"), replace(certificate(sha256="d" * 64), source_sha256="e" * 64))
    assert (found.counts, found.same_model) == ({"better": 1}, False)


def test_an_artifact_of_one_side_alone_is_named(tmp_path: Path) -> None:
    found = compared(tmp_path, certificate(), replace(certificate(), artifacts={}, results=()))
    assert found.only_old == ("coreml-int8",)
