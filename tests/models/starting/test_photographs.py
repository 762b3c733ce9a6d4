# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeferry.models.starting.class_names import class_names
from edgeferry.models.starting.photographs import Photographs, find_photographs
from edgeferry.models.starting.split import check_enough, queues, taken
from edgeferry.models.system.errors import EdgeError


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def folder_of(place: Path, names: list[str], count: int = 3) -> Path:
    """Return a folder with so many files, named as images, in each of some folders; '' is the folder itself."""
    for name in names:
        (place / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (place / name / f"{number}.jpg").write_bytes(f"{name}{number}".encode())
    return place


def look(file: Path) -> bytes:
    """Return a file's bytes in place of the digest of its pixels; one named as damaged cannot be read."""
    if file.stem == "damaged":
        raise EdgeError("EF-image-damaged", "damaged")
    return file.read_bytes()


def test_labels_are_the_folders_in_code_point_order(tmp_path: Path) -> None:
    assert find_photographs(folder_of(tmp_path, ["b", "a10", "a2", "Z"])).names == ("Z", "a10", "a2", "b")


def test_a_folder_around_the_labels_folders_is_entered(tmp_path: Path) -> None:
    found = find_photographs(folder_of(tmp_path, ["data/pets/cat", "data/pets/dog", "__MACOSX/data"]))
    assert (found.folder, found.names) == (tmp_path / "data" / "pets", ("cat", "dog"))


@pytest.mark.parametrize(
    ("parts", "golden", "calibration"),
    [(("train", "val"), "val", "train"), (("Train", "valid", "test"), "test", "Train"), (("val", "test"), "test", "val")],
)
def test_the_parts_of_a_data_set_are_taken_as_such(tmp_path: Path, parts: tuple[str, ...], golden: str, calibration: str) -> None:
    found = find_photographs(folder_of(tmp_path, [f"{part}/{label}" for part in parts for label in ("cat", "dog")]))
    assert found.calibration is not None
    assert (found.folder.name, found.calibration.folder.name, found.names) == (golden, calibration, ("cat", "dog"))


def test_labels_that_are_called_train_and_car_are_labels(tmp_path: Path) -> None:
    assert find_photographs(folder_of(tmp_path, ["train", "car"])).names == ("car", "train")


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([], "EF-photographs-missing"),
        (["cat"], "EF-photographs-one-label"),
        (["", "cat", "dog"], "EF-photographs-stray"),
    ],
)
def test_a_folder_that_cannot_be_labelled_is_refused(tmp_path: Path, names: list[str], code: str) -> None:
    with pytest.raises(EdgeError, check=coded(code)):
        find_photographs(folder_of(tmp_path, names))


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="does not exist", check=coded("EF-photographs-missing")):
        find_photographs(tmp_path / "none")


def both(photographs: Photographs, most: tuple[int, int] = (400, 200)) -> tuple[list[tuple[Path, str]], list[tuple[Path, str]]]:
    seen: set[bytes] = set()
    golden, calibration = queues(photographs)
    return taken(golden, most[0], seen, look, []), taken(calibration, most[1], seen, look, [])


def test_golden_and_calibration_images_are_of_all_labels_and_none_is_both(tmp_path: Path) -> None:
    golden, calibration = both(find_photographs(folder_of(tmp_path, ["a", "b", "c"], 30)))
    assert Counter(label for _, label in golden) == {"a": 20, "b": 20, "c": 20}
    assert Counter(label for _, label in calibration) == {"a": 10, "b": 10, "c": 10}
    assert not {file for file, _ in golden} & {file for file, _ in calibration}


def test_of_labels_with_one_image_a_third_is_for_calibration(tmp_path: Path) -> None:
    golden, calibration = both(find_photographs(folder_of(tmp_path, list("abcdefghi"), 1)))
    assert (len(golden), len(calibration)) == (6, 3)


def test_of_many_images_as_many_of_each_label_are_taken(tmp_path: Path) -> None:
    golden, _ = both(find_photographs(folder_of(tmp_path, ["a", "b"], 60)), (20, 10))
    assert Counter(label for _, label in golden) == {"a": 10, "b": 10}


def test_the_same_images_are_taken_every_time_and_nearly_the_same_where_one_was_added(tmp_path: Path) -> None:
    before = both(find_photographs(folder_of(tmp_path, ["a", "b"], 60)), (20, 10))[0]
    assert both(find_photographs(tmp_path), (20, 10))[0] == before
    (tmp_path / "a" / "new.jpg").write_bytes(b"new")
    assert len(set(both(find_photographs(tmp_path), (20, 10))[0]) & set(before)) >= 10


def test_copies_and_damaged_files_are_not_taken(tmp_path: Path) -> None:
    place = folder_of(tmp_path, ["a", "b"], 9)
    (place / "b" / "copy.jpg").write_bytes((place / "a" / "0.jpg").read_bytes())
    (place / "a" / "damaged.jpg").write_bytes(b"")
    golden, calibration = both(find_photographs(place))
    contents = [file.read_bytes() for file, _ in [*golden, *calibration]]
    assert len(contents) == len(set(contents)) == 18


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    golden, calibration = both(find_photographs(folder_of(tmp_path, ["a", "b"], 2)))
    with pytest.raises(EdgeError, match="at least 6", check=coded("EF-photographs-few")):
        check_enough(golden, calibration, tmp_path, [])


def named(tmp_path: Path, folders: list[str], outputs: int, labels: str = "", file: str = "labels.txt") -> tuple[str, ...]:
    photographs = find_photographs(folder_of(tmp_path / "photos", folders))
    path = tmp_path / file
    if labels:
        path.write_text(labels, encoding="utf-8")
    return class_names(tmp_path / "my.keras", outputs, photographs, path if labels else None).labels


def test_the_labels_of_a_file_are_in_its_order(tmp_path: Path) -> None:
    assert named(tmp_path, ["cat", "dog"], 2, "0 dog\n1 cat\n") == ("dog", "cat")


@pytest.mark.parametrize(
    "text", ['["dog", "cat"]', '{"0": "dog", "1": "cat"}', '{"cat": 1, "dog": 0}', '{"0": ["n1", "dog"], "1": ["n2", "cat"]}']
)
def test_the_labels_of_a_json_file_are_in_the_order_of_its_numbers(tmp_path: Path, text: str) -> None:
    assert named(tmp_path, ["cat", "dog"], 2, text, "class_names.json") == ("dog", "cat")


def test_a_file_of_labels_next_to_the_model_is_taken_before_the_folders(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\ncat\n", encoding="utf-8")
    assert named(tmp_path, ["cat", "dog"], 2) == ("dog", "cat")


@pytest.mark.parametrize(
    ("folders", "outputs", "labels", "message"),
    [
        (["cat", "dog", "fish"], 10, "", r"has 3 labels \(cat, dog, fish\), but my\.keras has 10 outputs"),
        (["cat", "dog"], 3, "cat\ndog\n", r"labels\.txt has 2 labels .* 3 outputs"),
        (["cat", "dgo"], 2, "cat\ndog\n", r"'dgo' is not \('dog' is\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, folders: list[str], outputs: int, labels: str, message: str) -> None:
    with pytest.raises(EdgeError, match=message, check=coded("EF-photographs-labels")):
        named(tmp_path, folders, outputs, labels)


def test_images_without_labels_get_numbers(tmp_path: Path) -> None:
    assert named(tmp_path, [""], 3) == ("0", "1", "2")
