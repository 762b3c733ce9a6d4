# SPDX-License-Identifier: Apache-2.0
"""A bundle's file: its bytes are the same each time, and no other bytes are taken for a bundle."""

import json
import random
import zipfile
from pathlib import Path
from typing import Final

import pytest
from jsonschema import Draft202012Validator

from edgeferry.models.bundle.archive import INDEX, index_of, is_archive, read_index, unpack, write_archive
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import files_below
from edgeferry.models.system.places import ROOT

FILES: Final = {"exports.json": b"{}", "reference/pixels.npy": bytes(range(256)), "tflite-int8/model.tflite": b"TFL3" * 20}
MUTATIONS: Final = 300


def written(folder: Path, files: dict[str, bytes] = FILES, name: str = "my.bundle") -> Path:
    """Return a bundle of some files."""
    for each, data in files.items():
        path = folder / "build" / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    write_archive(folder / "build", index_of(folder / "build", "my", ("tflite-int8",)), folder / name)
    return folder / name


def refused(path: Path) -> str:
    """Return the code with which a file is refused."""
    with pytest.raises(EdgeError) as error:
        unpack(path, path.with_name("unpacked"))
    assert not path.with_name("unpacked").exists()
    return error.value.code


def zipped(path: Path, *entries: tuple[str, bytes]) -> Path:
    """Return an archive that zipfile itself made, with an index of what it holds."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def index_text(**changed: object) -> bytes:
    return json.dumps({"schema": 1, "model": "my", "required": [], "files": {}, **changed}).encode()


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "a").read_bytes() == written(tmp_path / "b").read_bytes()


def test_what_was_written_is_unpacked(tmp_path: Path) -> None:
    path, place = written(tmp_path), tmp_path / "unpacked"
    assert is_archive(path)
    assert unpack(path, place).required == ("tflite-int8",)
    found = {each.relative_to(place).as_posix(): each.read_bytes() for each in files_below(place)}
    assert found == {**FILES, INDEX: found[INDEX]}


def test_the_index_has_a_schema(tmp_path: Path) -> None:
    unpack(written(tmp_path), tmp_path / "unpacked")
    schema = json.loads((ROOT / "models" / "bundle" / "bundle.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads((tmp_path / "unpacked" / INDEX).read_text(encoding="utf-8")))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return other bytes: one changed, some cut, doubled, or exchanged for others."""
    at, length = rng.randrange(len(data)), rng.randrange(1, 40)
    kinds = [
        data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :],
        data[:at],
        data[:at] + data[at + length :],
        data[:at] + data[at : at + length] + data[at:],
        data[:at] + rng.randbytes(length) + data[at + length :],
        data + rng.randbytes(length),
    ]
    return rng.choice(kinds)


def test_no_other_bytes_are_a_bundle(tmp_path: Path) -> None:
    data, rng, path = written(tmp_path).read_bytes(), random.Random(5), tmp_path / "mutated"  # noqa: S311 - nothing secret
    for _ in range(MUTATIONS):
        changed = mutated(data, rng)
        if changed != data:
            path.write_bytes(changed)
            assert refused(path) == "EF-bundle-damaged"


@pytest.mark.parametrize(
    "entries",
    [
        (("../out", b"x"),),
        (("/out", b"x"),),
        ((".hidden", b"x"),),
        (("a", b"x"), ("a/b", b"x")),
        (("a\\b", b"x"),),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, entries: tuple[tuple[str, bytes], ...]) -> None:
    from hashlib import sha256

    files = {name: {"sha256": sha256(data).hexdigest(), "bytes": len(data)} for name, data in entries}
    assert refused(zipped(tmp_path / "my.bundle", (INDEX, index_text(files=files)), *entries)) == "EF-bundle-damaged"


@pytest.mark.parametrize(
    "changed",
    [{"schema": 2}, {"model": "../my"}, {"model": 3}, {"files": {"a": {"sha256": "0" * 64, "bytes": -1}}}, {"more": 1}],
)
def test_an_index_of_another_kind_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    assert refused(zipped(tmp_path / "my.bundle", (INDEX, index_text(**changed)))) == "EF-bundle-damaged"


def test_what_would_unpack_to_more_than_it_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.bundle"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(INDEX, index_text(files={"a": {"sha256": "0" * 64, "bytes": 1 << 24}}))
        archive.writestr("a", bytes(1 << 24))
    with pytest.raises(EdgeError, match="compressed"):
        read_index(path)


def test_a_file_that_no_bundle_may_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(EdgeError) as error:
        written(tmp_path, {"my model.tflite": b""})
    assert error.value.code == "EF-bundle-name"
