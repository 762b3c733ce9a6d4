# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from edgeferry.models.image_labels import read_label_sets_if_any, read_labels
from edgeferry.models.image_lists import can_be_listed, write_list
from edgeferry.models.images import find_images
from edgeferry.models.system.errors import EdgeError


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return three images in two folders, one of them with a comma in its name."""
    found = [tmp_path / "photos" / name for name in ("cat/1.png", "cat/a, b.png", "dog/1.png")]
    for number, file in enumerate(found):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(file)
    return found


def test_a_list_names_images_that_are_anywhere(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / "models").mkdir()
    table = tmp_path / "models" / "golden.csv"
    write_list(table, files, ["cat", "cat", "dog"])
    assert table.read_text(encoding="utf-8").splitlines()[1:3] == ["../photos/cat/1.png,cat", '"../photos/cat/a, b.png",cat']
    images = find_images(table)
    assert [file.resolve() for file in images.files] == files
    assert read_labels(images, ("cat", "dog")).tolist() == [0, 0, 1]
    assert images.name(2) == "../photos/dog/1.png"


def test_a_list_without_labels_is_one_of_images_without_labels(tmp_path: Path, files: list[Path]) -> None:
    write_list(tmp_path / "calibration.csv", files, None)
    assert find_images(tmp_path / "calibration.csv").labels is None


def test_the_digest_of_a_list_follows_the_images(tmp_path: Path, files: list[Path]) -> None:
    write_list(tmp_path / "golden.csv", files, None)
    before = find_images(tmp_path / "golden.csv").digest
    Image.new("L", (4, 4), 9).save(files[0])
    assert find_images(tmp_path / "golden.csv").digest != before


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("file,label\nphotos/none.png,cat\n", r"line 2: names 'photos/none\.png', which does not exist"),
        ("photos/cat/1.png,cat\nphotos/cat/1.png,dog\n", "line 2: names 'photos/cat/1.png' again"),
        ("photos/cat/1.png,cat\nphotos/dog/1.png\n", "line 2: has 1 fields"),
        ("photos/cat/1.png,\n", "line 1: has 2 fields"),
        ("golden.csv,cat\n", "is no image by its name"),
        ("file,label\n", "names no image"),
    ],
)
@pytest.mark.usefixtures("files")
def test_a_list_with_a_wrong_line_is_refused_by_its_number(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "golden.csv").write_text(text, encoding="utf-8")
    with pytest.raises(EdgeError, match=named):
        find_images(tmp_path / "golden.csv")


@pytest.mark.parametrize("name", [b"a\xff.png", b"a.png "])
def test_a_name_that_a_list_cannot_hold_is_found_out_before(name: bytes) -> None:
    assert not can_be_listed(Path(name.decode("utf-8", "surrogateescape")))


def test_an_image_may_have_several_labels_or_none(tmp_path: Path, files: list[Path]) -> None:
    write_list(tmp_path / "golden.csv", files, ["cat|dog", "-", "dog"])
    held = read_label_sets_if_any(find_images(tmp_path / "golden.csv"), ("cat", "dog"))
    assert held is not None
    assert held.tolist() == [[1, 1], [0, 0], [0, 1]]


def test_one_of_several_labels_that_the_config_does_not_name_is_named(tmp_path: Path, files: list[Path]) -> None:
    write_list(tmp_path / "golden.csv", files, ["cat|dgo", "-", "dog"])
    with pytest.raises(
        EdgeError, match="has the label 'dgo' on 1 of 3 .*the closest of its 2 is 'dog'", check=coded("EF-label-unknown")
    ):
        read_label_sets_if_any(find_images(tmp_path / "golden.csv"), ("cat", "dog"))
