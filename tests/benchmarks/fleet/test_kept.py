# SPDX-License-Identifier: Apache-2.0
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeferry.benchmarks.fleet.kept import Kept, as_bytes, kept_of
from edgeferry.benchmarks.fleet.store import FolderStore, ObjectStore, sealed, store_of
from edgeferry.benchmarks.parity.one_run import Attempt
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import BatchedScores, Run

SCORES = np.random.default_rng(1).random((5, 3), np.float32)
BATCHED = BatchedScores(((4, 1), (0, 2)), SCORES[:4])
RUN = Run(SCORES, ("a", "b", "ü"), (0.1, 0.25), 3.5, 1.0 / 3, {"runtime": "x", "nodes": 7}, (0, 2, 4), SCORES, BATCHED, SCORES)


def test_a_run_is_the_same_to_the_last_bit_after_it_was_kept() -> None:
    kept = Kept(Attempt(RUN, None, "2026-11-28T10:00:00+00:00", 1.5), {"cores": "2"}, "digest")
    found = kept_of(as_bytes(kept))
    assert found is not None
    assert (found.machine, found.follows_from, found.attempt.seconds) == (kept.machine, kept.follows_from, 1.5)
    for name in ("labels", "latencies_ms", "first_ms", "load_ms", "environment", "image_indices"):
        assert getattr(found.attempt.run, name) == getattr(RUN, name), name
    assert found.attempt.run is not None
    assert found.attempt.run.batched is not None
    assert found.attempt.run.batched.batches == BATCHED.batches
    for array in (found.attempt.run.scores, found.attempt.run.stored, found.attempt.run.uploads):
        np.testing.assert_array_equal(array, SCORES)


def test_what_did_not_run_keeps_its_reason() -> None:
    found = kept_of(as_bytes(Kept(Attempt(None, Verdict("failed", "it died", "EF-x"), is_lasting=False), {}, "")))
    assert found is not None
    assert (found.attempt.verdict, found.attempt.is_lasting) == (Verdict("failed", "it died", "EF-x"), False)


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data[:200] + b"?" + data[201:], lambda _: b""])
def test_a_damaged_object_is_no_result(spoil: object) -> None:
    assert callable(spoil)
    assert kept_of(spoil(as_bytes(Kept(Attempt(RUN), {}, "")))) is None


def test_an_object_that_would_unpack_to_more_than_it_is_is_no_result() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, facts=np.zeros(10_000_000, np.uint8))
    assert zipfile.is_zipfile(file)
    assert kept_of(sealed(file.getvalue())) is None


def test_a_folder_keeps_objects_by_name(tmp_path: Path) -> None:
    store = store_of(str(tmp_path / "cache"))
    assert store.read("abcd") is None
    store.write("abcd", b"1")
    assert (store.read("abcd"), store) == (b"1", FolderStore(tmp_path / "cache"))


def test_a_url_keeps_objects_by_name() -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    store = store_of("memory://results")
    assert store.read("abcd") is None
    store.write("abcd", b"1")
    assert (store.read("abcd"), store) == (b"1", ObjectStore("memory://results"))


def test_a_url_that_nothing_reads_is_refused() -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-fleet-cache"):
        store_of("nowhere://results").read("abcd")
