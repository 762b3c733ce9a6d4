# SPDX-License-Identifier: Apache-2.0
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgeferry.models.loading import bounds
from edgeferry.models.loading.file_check import check_file
from edgeferry.models.system.errors import EdgeError

MODEL = {"class_name": "Sequential", "config": {"name": "whole", "layers": []}}


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def weights(change: Callable[[h5py.File], Any]) -> bytes:
    whole = io.BytesIO()
    with h5py.File(whole, "w") as file:
        file["layers/dense/vars/0"] = np.ones((4, 3), np.float32)
        change(file)
    return whole.getvalue()


def keras_file(path: Path, change: Callable[[h5py.File], Any] = lambda _: None, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        held = {"metadata": b'{"keras_version": "3.15.1"}', "config": json.dumps(MODEL).encode(), **members}
        for name, data in held.items():
            archive.writestr(f"{name}.json", data)
        archive.writestr("model.weights.h5", weights(change))
    return path


def hdf5_file(path: Path, change: Callable[[h5py.File], Any]) -> Path:
    path.write_bytes(weights(change))
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"], file.attrs["model_config"] = "3.15.1", json.dumps(MODEL)
    return path


def test_a_small_file_is_whole(tmp_path: Path) -> None:
    assert check_file(keras_file(tmp_path / "my.keras")) == "3.15.1"
    assert check_file(hdf5_file(tmp_path / "my.h5", lambda _: None)) == "3.15.1"


def test_a_configuration_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "my.keras", config=b"[" + bytes(80 << 20))
    assert path.stat().st_size < 200_000
    with pytest.raises(EdgeError, match=r"'config.json' has 80 MiB when unpacked", check=coded("EF-model-too-large")):
        check_file(path)


def test_a_member_that_unpacks_to_many_times_its_size_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "my.keras")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(80 << 20))
    with pytest.raises(EdgeError, match="'assets/zeros' unpacks to .* times", check=coded("EF-model-too-large")):
        check_file(path)


@pytest.mark.parametrize("write", [keras_file, hdf5_file])
def test_an_array_that_is_declared_and_not_held_is_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(
        tmp_path / f"my{'.keras' if write is keras_file else '.h5'}", lambda file: file.create_dataset("w", (1 << 28,), "f4")
    )
    with pytest.raises(EdgeError, match="unpacks to .* times its size", check=coded("EF-model-too-large")):
        check_file(path)


def test_arrays_of_more_bytes_than_any_network_has_are_refused(tmp_path: Path) -> None:
    path = hdf5_file(tmp_path / "my.h5", lambda file: file.create_dataset("w", (1 << 33,), "f4"))
    with pytest.raises(EdgeError, match="holds 32768 MiB when unpacked", check=coded("EF-model-too-large")):
        check_file(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.__setitem__("w", h5py.ExternalLink("/etc/passwd", "x")),
        lambda file: file.create_dataset("w", (8,), "u1", external=[("/etc/passwd", 0, 8)]),
        lambda file: file.create_virtual_dataset("w", virtual(), fillvalue=0),
    ],
    ids=["link", "external", "virtual"],
)
def test_arrays_in_other_files_are_refused_and_not_read(tmp_path: Path, change: Callable[[h5py.File], Any]) -> None:
    with pytest.raises(EdgeError, match="'w'.* (to|in) another file", check=coded("EF-model-file-kind")):
        check_file(hdf5_file(tmp_path / "my.h5", change))


def virtual() -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    return layout


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "\\out", "a\\..\\out"])
def test_a_member_that_points_out_of_the_file_is_refused(tmp_path: Path, name: str) -> None:
    path = keras_file(tmp_path / "my.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(EdgeError, match="points out of the file", check=coded("EF-model-file-kind")):
        check_file(path)


def test_a_symbolic_link_in_the_file_is_refused(tmp_path: Path) -> None:
    path, link = keras_file(tmp_path / "my.keras"), zipfile.ZipInfo("assets/out")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, b"/etc/passwd")
    with pytest.raises(EdgeError, match="points out of the file", check=coded("EF-model-file-kind")):
        check_file(path)


def test_a_file_of_too_many_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_ITEMS", 2)
    with pytest.raises(EdgeError, match="holds 3 files", check=coded("EF-model-too-large")):
        check_file(keras_file(tmp_path / "my.keras"))


def test_a_configuration_nested_without_end_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, check=coded("EF-model-damaged")):
        check_file(keras_file(tmp_path / "my.keras", config=b"[" * 200_000))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "my.keras")
    with pytest.raises(EdgeError, match="a pipe or a device", check=coded("EF-model-file-kind")):
        check_file(tmp_path / "my.keras")
