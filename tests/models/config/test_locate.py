# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from edgeferry.models.config.locate import find_config
from edgeferry.models.system.errors import EdgeError

TOML: Final = """\
[model]
file = "my.keras"
labels = ["cat", "dog"]

[input]
shape = [8, 6, 3]
range = [0, 255]

[data]
golden = "golden"
"""


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def refuse_notes(line: str) -> None:
    pytest.fail(f"nothing should be noted: {line}")


def find(model: str | Path) -> Path:
    return find_config(str(model), refuse_notes).path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, whose name has a space, with a config and a Keras file."""
    folder = tmp_path / "my models"
    folder.mkdir()
    (folder / "my.toml").write_text(TOML, encoding="utf-8")
    (folder / "my.keras").write_bytes(b"PK\x03\x04")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", ["my.toml", "my.keras", "my.h5", "../my models/my.toml"])
def test_a_config_is_found_by_any_of_its_models_files(folder: Path, name: str) -> None:
    found = find(name)
    assert found.samefile(folder / "my.toml")
    assert found.is_absolute()


def test_a_home_folder_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert find("~/my.toml") == folder / "my.toml"


@pytest.mark.parametrize("model", ["", "  "])
def test_an_empty_name_is_refused(model: str) -> None:
    with pytest.raises(EdgeError, match="MODEL=", check=coded("EF-model-unnamed")):
        find(model)


@pytest.mark.parametrize("name", ["none.toml", "none.keras", "none.h5", "none", "deep/none.toml"])
def test_a_missing_file_is_named_by_its_absolute_path(folder: Path, name: str) -> None:
    with pytest.raises(EdgeError, check=coded("EF-model-missing")) as caught:
        find(folder / name)
    assert str(caught.value).startswith(f"{folder / name}: ")


def test_a_relative_path_is_refused_with_the_folder_it_starts_at(folder: Path) -> None:
    with pytest.raises(EdgeError, check=coded("EF-model-missing")) as caught:
        find("models/none.toml")
    assert f"{folder}/models/none.toml" in str(caught.value)
    assert f"starts at {folder})" in str(caught.value)


def test_a_mistyped_name_is_refused_with_the_closest_one(folder: Path) -> None:
    with pytest.raises(EdgeError, match=r"did you mean my\.toml\?", check=coded("EF-model-missing")):
        find(folder / "mi.toml")


@pytest.mark.parametrize(
    ("inside", "kind"),
    [("reference/reference.json", "a build folder"), ("a.txt", "a folder")],
)
def test_a_folder_is_refused_by_its_kind(folder: Path, inside: str, kind: str) -> None:
    (folder / "it" / inside).parent.mkdir(parents=True)
    (folder / "it" / inside).touch()
    with pytest.raises(EdgeError, check=coded("EF-model-folder")) as caught:
        find("it")
    assert str(caught.value).startswith(f"{folder / 'it'} is {kind}")


@pytest.mark.parametrize("name", ["my.tflite", "my.onnx"])
def test_a_file_of_another_kind_is_refused_although_a_config_is_next_to_it(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"TFL3" * 8)
    with pytest.raises(EdgeError, match=rf"{name}: .*b'TFL3", check=coded("EF-model-file-kind")):
        find(name)


def test_a_damaged_keras_file_without_a_config_is_refused_and_gets_none(folder: Path) -> None:
    (folder / "my.toml").unlink()
    with pytest.raises(EdgeError, check=coded("EF-model-damaged")):
        find("my.keras")
    assert not (folder / "my.toml").exists()
