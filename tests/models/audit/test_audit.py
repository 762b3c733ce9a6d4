# SPDX-License-Identifier: Apache-2.0
"""Folders of small photographs, each spoiled in one way, and what the audit says."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image

from edgeferry.commands.arguments import note_findings
from edgeferry.models.audit.audit import Audited, audit_images
from edgeferry.models.audit.finding import AuditFinding, findings_of
from edgeferry.models.audit.golden import least_agreement_shown
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError

LABELS: Final = ("cat", "dog", "fish")
HOW: Final = Preprocessing(24, 24, "rgb", (0.0,) * 3, (1.0,) * 3)


def photograph(number: int) -> Image.Image:
    """Return a smooth picture, every number another one."""
    rng = np.random.default_rng(number)
    rough = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((48, 48), Image.Resampling.BICUBIC)


def fill(folder: Path, numbers: range, make: Callable[[int], Image.Image] = photograph) -> Path:
    for number in numbers:
        place = folder / LABELS[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        make(number).save(place / f"{number:04}.png")
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    """Return a config of 102 golden and 60 calibration images with which nothing is wrong."""
    golden, calibration = fill(tmp_path / "golden", range(102)), fill(tmp_path / "calibration", range(500, 560))
    return ModelSpec("pets", tmp_path / "pets.toml", tmp_path / "pets.keras", LABELS, HOW, golden, calibration)


def audited(spec: ModelSpec) -> Audited:
    work = spec.path.parent
    return audit_images(spec, work / "pixels.npy", work / "calibration.npy")


def warnings(spec: ModelSpec) -> dict[str, str]:
    return {each.code: each.sentence for each in audited(spec).findings if each.severity == "warning"}


def refill(folder: Path, numbers: range, make: Callable[[int], Image.Image]) -> None:
    for file in find_images(folder).files:
        file.unlink()
    fill(folder, numbers, make)


def test_images_with_which_nothing_is_wrong_are_only_counted(spec: ModelSpec) -> None:
    found = audited(spec).findings
    assert [(each.code, each.severity) for each in found] == [("golden-classes", "note")]
    assert found[0].sentence.endswith("102 golden images of 3 classes, 34 of each.")


def test_the_pixels_written_are_those_that_are_read(spec: ModelSpec) -> None:
    audited(spec)
    assert np.array_equal(np.load(spec.path.parent / "pixels.npy"), read_pixels(find_images(spec.golden), HOW))


# What is refused, all of it at once.


def test_every_damaged_file_is_named(spec: ModelSpec) -> None:
    for name in ("cat/0000.png", "dog/0001.png"):
        (spec.golden / name).write_bytes(b"no image")
    with pytest.raises(EdgeError, match=r"2 files cannot be used: cat/0000\.png, dog/0001\.png\.") as caught:
        audited(spec)
    assert caught.value.code == "EF-image-damaged"


def test_all_that_is_wrong_is_one_message(spec: ModelSpec) -> None:
    (spec.golden / "cat").rename(spec.golden / "cats")
    (spec.golden / "dog" / "0001.png").write_bytes(b"no image")
    photograph(5).save(spec.calibration / "dog" / "copy.bmp")  # type: ignore[operator]
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-data-problems") as caught:
        audited(spec)
    assert all(code in str(caught.value) for code in ("EF-label-unknown", "EF-image-damaged", "EF-calibration-golden"))


def test_one_label_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-golden-one-label"):
        audited(replace(spec, golden=fill_one(spec.path.parent / "one")))


def fill_one(folder: Path) -> Path:
    return fill(folder, range(0, 30, 3))


def test_a_few_images_beside_the_folders_of_labels_are_refused(spec: ModelSpec) -> None:
    photograph(1000).save(spec.golden / "stray.png")
    with pytest.raises(
        EdgeError, match=r"1 of 103 images, such as stray\.png", check=lambda error: error.code == "EF-golden-labels"
    ):
        audited(spec)


# What is only warned of.


def test_golden_images_without_labels_are_taken_and_it_is_said_what_is_lost(spec: ModelSpec) -> None:
    for file in find_images(spec.golden).files:
        file.rename(spec.golden / file.name)
    found = audited(spec)
    assert found.classes is None
    assert [each.code for each in found.findings] == ["golden-unlabelled"]


def test_ten_images_are_few_and_it_is_said_what_they_show(spec: ModelSpec) -> None:
    refill(spec.golden, range(10), photograph)
    assert "10 golden images are few" in warnings(spec)["golden-few"]
    assert "agreement of at least 74.1%" in warnings(spec)["golden-few"]


@pytest.mark.parametrize(("images", "agreement"), [(8, 0.6877), (100, 0.9705), (299, 0.9900)])
def test_no_difference_on_some_images_shows_a_bound(images: int, agreement: float) -> None:
    assert least_agreement_shown(images) == pytest.approx(agreement, abs=1e-4)


def test_a_class_that_vanished_is_named_with_the_files_that_were_not_read(spec: ModelSpec) -> None:
    for file in list((spec.golden / "fish").iterdir()):
        file.rename(file.with_suffix(".HEIC"))
    found = warnings(spec)
    assert "no image of 1 of 3 classes (fish)" in found["golden-class-missing"]
    assert "34 .heic files were not read; convert them first" in found["golden-skipped"]


def test_copies_among_golden_images_are_counted(spec: ModelSpec) -> None:
    for number in range(4):
        photograph(0).save(spec.golden / "cat" / f"copy{number}.bmp")
    assert "4 of 106 golden images are copies" in warnings(spec)["golden-repeated"]


def test_a_picture_saved_again_smaller_and_brighter_is_nearly_golden(spec: ModelSpec) -> None:
    again = photograph(7).resize((40, 40)).point(lambda value: min(255, value + 4))
    again.save(spec.calibration / "dog" / "again.jpg", quality=70)  # type: ignore[operator]
    found = warnings(spec)
    assert set(found) == {"calibration-similar"}
    assert "dog/again.jpg is like dog/0007.png" in found["calibration-similar"]


def noise(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (48, 48, 3), dtype=np.uint8))


def dark(number: int) -> Image.Image:
    return photograph(number).point(lambda value: value // 8)


def without_blue(number: int) -> Image.Image:
    pixels = np.array(photograph(number))
    pixels[..., 2] = 0
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (noise, "calibration-noise", "times as much as in golden images, like noise"),
        (dark, "calibration-range", "red from 0 to 31, in the golden images from"),
        (without_blue, "calibration-range", "(blue from 0 to 0, in the golden images from"),
        (lambda _: photograph(700), "calibration-one-image", "holds one image 60 times"),
    ],
)
def test_calibration_unlike_the_golden_images_is_warned_of(
    spec: ModelSpec, make: Callable[[int], Image.Image], code: str, said: str
) -> None:
    refill(spec.calibration, range(500, 560), make)  # type: ignore[arg-type]
    assert said in warnings(spec)[code]


def test_few_calibration_images_and_their_missing_classes_are_warned_of(spec: ModelSpec) -> None:
    refill(spec.calibration, range(500, 560, 3), photograph)  # type: ignore[arg-type]
    found = warnings(spec)
    assert "20 calibration images" in found["calibration-few"]
    assert "no image of 2 of 3 classes" in found["calibration-class-missing"]


# How it is shown and kept.


def test_warnings_are_printed_and_counts_only_where_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    found = (
        AuditFinding("golden-few", "warning", "golden", "10 images are few."),
        AuditFinding("golden-classes", "note", "golden", "10 images."),
    )
    note_findings(found)
    assert capsys.readouterr().err == "edgeferry: warning: 10 images are few. (golden-few)\n"
    note_findings(found, notes=True)
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert findings_of([asdict(each) for each in found]) == found
