# SPDX-License-Identifier: Apache-2.0
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from keras2_files import entry, image, sequential, write_hdf5

from edgeferry.models.config import teachable_machine
from edgeferry.models.config.locate import find_config
from edgeferry.models.config.spec import read_spec
from edgeferry.models.config.teachable_machine import is_archive, unpacked
from edgeferry.models.system.errors import EdgeError


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def archive(path: Path, **members: bytes) -> Path:
    """Write a zip file; '__' in a name is a slash, '_' before its last part a dot."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            *folders, last = name.split("__")
            file.writestr("/".join([*folders, ".".join(last.rsplit("_", 1))]), data)
    return path


def test_model_and_labels_are_unpacked_next_to_the_zip_file(tmp_path: Path) -> None:
    path = archive(tmp_path / "converted_keras.zip", keras_model_h5=b"model", labels_txt=b"0 cat\n1 dog\n")
    model = unpacked(path)
    assert model == tmp_path / "converted_keras" / "keras_model.h5"
    assert (model.read_bytes(), model.with_name("labels.txt").read_bytes()) == (b"model", b"0 cat\n1 dog\n")


def test_a_file_in_a_folder_of_the_zip_file_is_found_and_nothing_else_is_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "my.zip", my__keras_model_h5=b"model", my__labels_txt=b"0 a\n1 b\n", evil__run_sh=b"touch ran")
    unpacked(path)
    assert sorted(each.name for each in (tmp_path / "my").iterdir()) == ["keras_model.h5", "labels.txt"]


def test_a_member_outside_of_the_zip_file_s_folder_is_written_inside(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = archive(tmp_path / "inner" / "my.zip", **{"..__..__keras_model_h5": b"model", "labels_txt": b"0 a\n1 b\n"})
    assert unpacked(path) == tmp_path / "inner" / "my" / "keras_model.h5"
    assert {each.name for each in tmp_path.iterdir()} == {"inner"}


def test_unpacking_again_keeps_the_same_files(tmp_path: Path) -> None:
    path = archive(tmp_path / "my.zip", keras_model_h5=b"model", labels_txt=b"0 a\n1 b\n")
    before = unpacked(path).stat().st_mtime_ns
    assert unpacked(path).stat().st_mtime_ns == before


def test_a_file_of_the_user_s_is_not_replaced(tmp_path: Path) -> None:
    path = archive(tmp_path / "my.zip", keras_model_h5=b"model", labels_txt=b"0 a\n1 b\n")
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "labels.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(EdgeError, match=r"labels\.txt exists already", check=coded("EF-model-unpacked")):
        unpacked(path)
    assert (tmp_path / "my" / "labels.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("member", "named"),
    [("model_json", "TensorFlow.js"), ("model_unquant_tflite", "TensorFlow Lite"), ("m__saved_model_pb", "Savedmodel")],
)
def test_another_export_of_teachable_machine_is_named_with_the_right_one(tmp_path: Path, member: str, named: str) -> None:
    with pytest.raises(EdgeError, match=f"{named}.*the type Keras", check=coded("EF-model-file-kind")):
        unpacked(archive(tmp_path / "my.zip", **{member: b"x", "labels_txt": b"0 a\n"}))


def test_a_member_that_is_too_large_is_refused_by_its_declared_size(tmp_path: Path) -> None:
    path = archive(tmp_path / "my.zip", keras_model_h5=b"model", labels_txt=bytes(2 << 20))
    assert path.stat().st_size < 10_000
    with pytest.raises(EdgeError, match="2097152 bytes when unpacked", check=coded("EF-model-too-large")):
        unpacked(path)
    assert not (tmp_path / "my").exists()


def test_a_damaged_zip_file_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "my.zip", keras_model_h5=b"model" * 99, labels_txt=b"0 a\n1 b\n")
    data = bytearray(path.read_bytes())
    data[46:50] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(EdgeError, check=coded("EF-model-damaged")):
        unpacked(path)


def test_a_keras_file_that_is_named_zip_is_no_archive(tmp_path: Path) -> None:
    assert not is_archive(archive(tmp_path / "my.zip", config_json=b"{}"))
    assert is_archive(archive(tmp_path / "other.zip", photo_txt=b"a cat"))
    assert not is_archive(tmp_path / "none.zip")


@pytest.mark.slow
def test_the_zip_file_as_downloaded_gets_a_config_with_its_labels_and_its_preprocessing(tmp_path: Path) -> None:
    model = sequential(
        "whole",
        image((8, 8, 3)),
        entry("GlobalAveragePooling2D", "pool"),
        entry("Dense", "dense", units=2, activation="softmax", use_bias=False),
    )
    write_hdf5(tmp_path / "m.h5", model, {"dense": {"dense/kernel:0": np.ones((3, 2), np.float32)}})
    path = archive(tmp_path / "my.zip", keras_model_h5=(tmp_path / "m.h5").read_bytes(), labels_txt=b"0 cat\n1 dog\n")
    notes: list[str] = []
    with pytest.raises(EdgeError, check=coded("EF-starter-written")):
        find_config(str(path), notes.append)
    spec = read_spec(tmp_path / "my" / "keras_model.toml")
    assert spec.labels == ("cat", "dog")
    assert spec.labels_numbered
    assert (spec.preprocessing.resize, spec.preprocessing.fit) == ("lanczos", "crop")
    assert (spec.preprocessing.mean, spec.preprocessing.std) == ((127.5,) * 3, (127.5,) * 3)
    assert "keras_model.toml: the numbers before the labels were taken off: cat, dog" in notes
    assert any("saved by Keras 2.4.0" in line for line in notes)
    (tmp_path / "my" / "golden").mkdir()
    assert find_config(str(path), notes.append) == spec
    assert spec.model.name == teachable_machine.MODEL


def test_a_zip_file_with_a_damaged_list_of_its_files_is_refused_as_damaged(tmp_path: Path) -> None:
    path = archive(tmp_path / "my.zip", keras_model_h5=b"model", labels_txt=b"0 a\n1 b\n")
    whole = path.read_bytes()
    at = whole.index(b"PK\x01\x02")
    path.write_bytes(whole[:at] + b"XXXX" + whole[at + 4 :])
    assert zipfile.is_zipfile(path)
    with pytest.raises(EdgeError, check=coded("EF-model-damaged")):
        find_config(str(path), lambda _: None)
