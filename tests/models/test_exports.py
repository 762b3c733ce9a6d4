# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from edgeferry.models.artifact import EXPORTS, MANIFEST
from edgeferry.models.exports import Export, Exports, known_exports, read_exports, record_manifest, write_exports
from edgeferry.models.system.errors import EdgeError

WHOLE = Exports((Export("onnx-float32", "failed", "why", code="EF-x"),), {"keras": "0" * 64}, {"keras": {"mean_difference": 0.1}})


@pytest.fixture
def build(tmp_path: Path) -> Path:
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / MANIFEST).write_text("{}")
    return tmp_path


def test_what_is_written_is_read(build: Path) -> None:
    write_exports(build, WHOLE)
    assert read_exports(build) == WHOLE


def test_what_did_not_change_is_not_written_again(build: Path) -> None:
    write_exports(build, WHOLE)
    before = (build / EXPORTS).stat().st_ino
    write_exports(build, WHOLE)
    assert (build / EXPORTS).stat().st_ino == before


def test_a_manifest_is_recorded_next_to_what_is_known(build: Path) -> None:
    write_exports(build, WHOLE)
    record_manifest(build, "keras")
    found = read_exports(build)
    assert (found.formats, found.tolerances) == (WHOLE.formats, WHOLE.tolerances)
    found.refuse_other_manifest(build / "keras")


def test_another_manifest_is_refused(build: Path) -> None:
    record_manifest(build, "keras")
    (build / "keras" / MANIFEST).write_text('{"tolerance": 1}')
    with pytest.raises(EdgeError, match="export again", check=lambda error: error.code == "EF-manifest-changed"):
        read_exports(build).refuse_other_manifest(build / "keras")


def test_a_manifest_that_nothing_lists_is_refused(build: Path) -> None:
    with pytest.raises(EdgeError, match="keras", check=lambda error: error.code == "EF-manifest-unlisted"):
        Exports().refuse_other_manifest(build / "keras")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 2, "formats": 5, "manifests": {}}'])
def test_a_damaged_record_is_unreadable_and_known_as_empty(text: str, build: Path) -> None:
    (build / EXPORTS).write_text(text)
    with pytest.raises(EdgeError, match="exports.json"):
        read_exports(build)
    assert known_exports(build) == Exports()


def test_a_record_of_an_older_release_says_so(build: Path) -> None:
    (build / EXPORTS).write_text(json.dumps({"schema": 1, "formats": []}))
    with pytest.raises(EdgeError, match="an older release", check=lambda error: error.code == "EF-record-schema"):
        read_exports(build)
