# SPDX-License-Identifier: Apache-2.0
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image

from edgeferry.models.config.spec import FITS, RESIZES
from edgeferry.models.image_labels import read_labels
from edgeferry.models.images import ImageSet, find_images, read_pixels
from edgeferry.models.preprocessing import Preprocessing, normalise, pixels_of
from edgeferry.models.system.errors import EdgeError

LABELS: Final = ("cat", "dog")
RED: Final = (200, 10, 30)
BLUE: Final = (5, 20, 250)


def contract(
    height: int = 4, width: int = 4, colour: str = "rgb", resize: str = "nearest", fit: str = "stretch"
) -> Preprocessing:
    channels = 1 if colour == "gray" else 3
    return Preprocessing(height, width, colour, (0.0,) * channels, (1.0,) * channels, resize, fit)


def picture(*columns: tuple[int, int, int], height: int = 4) -> Image.Image:
    """Return a picture of one colour a column."""
    return Image.fromarray(np.tile(np.array([columns], dtype=np.uint8), (height, 1, 1)))


def write(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three images in one folder a label."""
    place = tmp_path / "golden"
    write(place / "cat" / "1.png", picture(RED, RED))
    write(place / "dog" / "2.PNG", picture(BLUE, BLUE))
    write(place / "dog" / "deeper" / "3.jpg", picture(BLUE, RED))
    return place


@pytest.fixture
def listed(tmp_path: Path) -> Callable[[str | bytes], ImageSet]:
    """Return a function that finds two images and a labels.csv of some text."""

    def found(table: str | bytes) -> ImageSet:
        place = tmp_path / "golden"
        write(place / "a.png", picture(RED))
        write(place / "more" / "b.png", picture(BLUE))
        (place / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
        return find_images(place)

    return found


@pytest.fixture
def arrays(tmp_path: Path) -> Callable[..., ImageSet]:
    """Return a function that finds an .npz file of some arrays."""

    def found(**held: np.ndarray) -> ImageSet:
        np.savez(tmp_path / "golden.npz", **held)
        return find_images(tmp_path / "golden.npz")

    return found


# Where images and labels stand.


def test_the_folder_below_the_named_one_is_the_label(folder: Path) -> None:
    images = find_images(folder)
    assert images.labels == ("cat", "dog", "dog")
    assert read_labels(images, LABELS).tolist() == [0, 1, 1]
    assert read_labels(images, ("dog", "cat")).tolist() == [1, 0, 0]


def test_files_of_other_kinds_and_hidden_ones_are_no_images(folder: Path) -> None:
    (folder / "README.md").write_text("mine", encoding="utf-8")
    (folder / ".cache").mkdir()
    write(folder / ".cache" / "thumb.png", picture(RED))
    write(folder / "cat" / ".hidden.png", picture(RED))
    assert len(find_images(folder).files) == 3


def test_images_without_folders_have_no_labels(tmp_path: Path) -> None:
    write(tmp_path / "calibration" / "a.png", picture(RED))
    images = find_images(tmp_path / "calibration")
    assert images.labels is None
    with pytest.raises(EdgeError, match="calibration", check=lambda error: error.code == "EF-golden-labels"):
        read_labels(images, LABELS)


def test_a_table_may_tell_the_labels(listed: Callable[[str], ImageSet]) -> None:
    assert listed("more/b.png,cat\na.png, dog \n").labels == ("dog", "cat")


def test_a_table_may_have_a_heading_quotes_and_empty_lines(listed: Callable[[str], ImageSet]) -> None:
    assert listed('\ufefffile,label\r\n\r\n"a.png","cat"\r\nmore/b.png,dog\r\n\r\n').labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("a.png,cat\n", r"labels\.csv has no line for more/b\.png \(1 images lack one\)"),
        ("a.png,cat\nmore/b.png\n", r"labels\.csv, line 2: has 1 fields; expected 'file,label'"),
        ("a.png,cat\n\nmore/b.png,dog,1\n", r"labels\.csv, line 3: has 3 fields; expected 'file,label'"),
        ("a.png,cat\nmore/b.png,dog\nc.png,dog\n", r"labels\.csv, line 3: names 'c\.png', which is not an image in "),
        ("a.png,cat\nmore/b.png,dog\na.png,dog\n", r"labels\.csv, line 3: names 'a\.png' again; expected one line per image"),
        ('a.png,cat\nmore/b.png,"dog\n', r"labels\.csv: not a table of 'file,label' lines in UTF-8"),
        ("a.png,écureuil\nmore/b.png,dog\n".encode("latin-1"), r"labels\.csv: not a table of 'file,label' lines in UTF-8"),
    ],
)
def test_a_mistake_in_the_table_is_named_by_its_line(listed: Callable[[str | bytes], ImageSet], table: str, said: str) -> None:
    with pytest.raises(EdgeError, match=said):
        listed(table)


def test_a_label_the_contract_does_not_name_is_refused(folder: Path) -> None:
    with pytest.raises(
        EdgeError,
        match=r"has the label 'dog' on \d+ of \d+ images, ",
        check=lambda error: error.code == "EF-label-unknown",
    ):
        read_labels(find_images(folder), ("cat", "fish"))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(np.array(["dog", "cat", "dog"]), [1, 0, 1]), (np.array([1, 0, 1]), [1, 0, 1]), (np.array([0, 0, 1], np.uint8), [0, 0, 1])],
)
def test_an_npz_file_may_name_or_number_its_labels(
    arrays: Callable[..., ImageSet], labels: np.ndarray, classes: list[int]
) -> None:
    images = arrays(images=np.zeros((3, 4, 4, 3), np.uint8), labels=labels)
    assert read_labels(images, LABELS).tolist() == classes


@pytest.mark.parametrize("number", [2, -1])
def test_a_class_number_that_does_not_exist_is_refused(arrays: Callable[..., ImageSet], number: int) -> None:
    images = arrays(images=np.zeros((1, 4, 4, 3), np.uint8), labels=np.array([number]))
    with pytest.raises(
        EdgeError, match=f"has the label '{number}' on 1 of 1 images, ", check=lambda error: error.code == "EF-label-unknown"
    ):
        read_labels(images, LABELS)


def test_an_npz_file_may_have_no_labels(arrays: Callable[..., ImageSet]) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-golden-labels"):
        read_labels(arrays(images=np.zeros((1, 4, 4), np.uint8)), LABELS)


@pytest.mark.parametrize(("colour", "shape"), [("gray", (2, 4, 4)), ("gray", (2, 4, 4, 1)), ("rgb", (2, 4, 4, 3))])
def test_the_images_of_an_npz_file_come_out_as_they_are(
    arrays: Callable[..., ImageSet], colour: str, shape: tuple[int, ...]
) -> None:
    held = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pixels = read_pixels(arrays(images=held), contract(colour=colour))
    assert np.array_equal(pixels, held.reshape(pixels.shape))


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"x": np.zeros((2, 4, 4, 3), np.uint8)}, r"expected 'images' of uint8, .*; found 'x' of uint8 \[2, 4, 4, 3\]"),
        ({"images": np.zeros((2, 4, 4, 3))}, r"found 'images' of float64 \[2, 4, 4, 3\]"),
        ({"images": np.zeros((2, 4, 4, 2), np.uint8)}, r"found 'images' of uint8 \[2, 4, 4, 2\]"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, r"found 'images' of uint8 \[0, 4, 4, 3\]"),
        (
            {"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.zeros(3, int)},
            r"has 2 images, but 'labels' has the shape \(3,\)",
        ),
        ({"images": np.array([None])}, r"not an \.npz file that can be read: .*allow_pickle"),
    ],
)
def test_an_npz_file_that_holds_something_else_is_refused(
    arrays: Callable[..., ImageSet], held: dict[str, np.ndarray], said: str
) -> None:
    with pytest.raises(EdgeError, match=said):
        read_pixels(arrays(**held), contract())


def test_an_npz_file_cut_short_is_refused(arrays: Callable[..., ImageSet]) -> None:
    images = arrays(images=np.zeros((2, 4, 4, 3), np.uint8))
    whole = images.path.read_bytes()
    for length in (0, 3, 100, len(whole) - 1):
        images.path.write_bytes(whole[:length])
        with pytest.raises(EdgeError, match=r"golden\.npz", check=lambda error: error.code == "EF-npz"):
            read_pixels(images, contract())


def test_an_npy_file_under_the_name_of_an_npz_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "golden.npz").open("wb") as file:
        np.save(file, np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(EdgeError, match="not an .npz file that can be read"):
        read_pixels(find_images(tmp_path / "golden.npz"), contract())


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"\.png, \.jpg", check=lambda error: error.code == "EF-images-missing"):
        find_images(tmp_path)


def test_a_place_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="none", check=lambda error: error.code == "EF-images-missing"):
        find_images(tmp_path / "none")


def test_one_image_file_is_no_set_of_images(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-images-missing"):
        find_images(write(tmp_path / "a.png", picture(RED)))


def test_an_image_that_cannot_be_opened_is_named(folder: Path) -> None:
    (folder / "cat" / "9.png").symlink_to("gone.png")
    with pytest.raises(EdgeError, match=r"9\.png", check=lambda error: error.code == "EF-image-unreadable"):
        find_images(folder)


def test_a_file_name_that_is_no_text_does_no_harm(folder: Path) -> None:
    shutil.copy(folder / "cat" / "1.png", os.fsencode(folder / "cat") + b"/caf\xe9.png")
    assert len(find_images(folder).files) == 4


# What the images become.


def test_an_unreadable_image_is_named(folder: Path) -> None:
    (folder / "cat" / "1.png").write_bytes(b"no picture")
    with pytest.raises(EdgeError, match=r"cat/1\.png: not an image that can be read"):
        read_pixels(find_images(folder), contract())


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif", "bmp"])
def test_an_image_cut_short_is_named(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = write(tmp_path / "golden" / f"a.{suffix}", Image.fromarray(noise))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(EdgeError, match=rf"a\.{suffix}: not an image that can be read"):
        read_pixels(find_images(tmp_path / "golden"), contract())


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint16, "png"), (np.uint16, "tif"), (np.int32, "tif"), (np.float32, "tif")])
def test_more_than_eight_bits_a_channel_are_refused(tmp_path: Path, dtype: type, suffix: str) -> None:
    write(tmp_path / f"deep.{suffix}", Image.fromarray(np.full((4, 4), 300, dtype)))
    with pytest.raises(EdgeError, match=rf"deep\.{suffix}: .*found mode [IF]"):
        read_pixels(find_images(tmp_path), contract(colour="gray"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_an_image_is_turned_upright_by_its_exif_note(tmp_path: Path, suffix: str) -> None:
    # Orientation 6: the camera was held turned; the picture's left column is its upper row.
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = Image.fromarray(np.repeat(np.array([[[255] * 3] * 8, [[0] * 3] * 8], np.uint8), 4, axis=0))
    sideways.save(tmp_path / f"a.{suffix}", exif=exif)
    (upright,) = read_pixels(find_images(tmp_path), contract(height=8, width=8, colour="gray"))
    assert upright[:, 7].min() > 200
    assert upright[:, 0].max() < 50


def test_transparency_is_left_out_and_the_colours_below_it_stay(tmp_path: Path) -> None:
    solid = np.full((4, 4, 3), RED, np.uint8)
    alpha = np.tile(np.array([0, 80, 160, 255], np.uint8), (4, 1))[..., None]
    write(tmp_path / "a.png", Image.fromarray(np.concatenate([solid, alpha], axis=2)))
    assert np.array_equal(read_pixels(find_images(tmp_path), contract())[0], solid)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_usual_mode_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    write(tmp_path / "a.png", picture((255, 255, 255), (255, 255, 255)).convert(mode))
    assert np.array_equal(read_pixels(find_images(tmp_path), contract())[0], np.full((4, 4, 3), 255, np.uint8))


def test_bgr_is_rgb_with_the_channels_reversed(folder: Path) -> None:
    images = find_images(folder)
    bgr, rgb = read_pixels(images, contract(colour="bgr")), read_pixels(images, contract(colour="rgb"))
    assert bgr[0, 0, 0].tolist() == list(RED)[::-1]
    assert np.array_equal(bgr, rgb[..., ::-1])
    assert bgr.flags.c_contiguous


def test_gray_is_the_luma_of_the_colours() -> None:
    gray = pixels_of(picture(RED, BLUE), contract(height=4, width=2, colour="gray"))
    # ITU-R 601: 0.299 R + 0.587 G + 0.114 B.
    assert gray[0, :, 0].tolist() == [69, 42]


def test_an_image_of_the_right_size_comes_out_as_it_is() -> None:
    columns = (RED, BLUE, (1, 2, 3), (4, 5, 6))
    for resize in RESIZES:
        for fit in FITS:
            assert pixels_of(picture(*columns), contract(resize=resize, fit=fit))[0].tolist() == list(map(list, columns))


def test_stretch_takes_the_whole_image() -> None:
    pixels = pixels_of(picture(RED, BLUE, height=1), contract(height=2, width=4, fit="stretch"))
    assert pixels.tolist() == [[list(RED), list(RED), list(BLUE), list(BLUE)]] * 2


def test_stretch_averages_boxes() -> None:
    pixels = pixels_of(picture((0, 0, 0), (100, 50, 10), (200, 200, 200), (0, 100, 50)), contract(4, 2, resize="box"))
    assert pixels[0].tolist() == [[50, 25, 5], [100, 150, 125]]


def test_crop_takes_the_middle() -> None:
    columns = tuple((10 * number, 0, 0) for number in range(8))
    pixels = pixels_of(picture(*columns), contract(fit="crop"))
    assert pixels[0, :, 0].tolist() == [20, 30, 40, 50]


def test_crop_of_a_high_image_takes_the_middle() -> None:
    turned = picture(*((10 * number, 0, 0) for number in range(8))).transpose(Image.Transpose.ROTATE_270)
    pixels = pixels_of(turned, contract(height=2, width=4, fit="crop"))
    assert pixels[:, 0, 0].tolist() == [30, 40]


def test_pad_puts_black_beside_the_image() -> None:
    pixels = pixels_of(picture(RED, BLUE), contract(height=4, width=6, fit="pad"))
    assert pixels[0].tolist() == [[0] * 3, [0] * 3, list(RED), list(BLUE), [0] * 3, [0] * 3]


def test_height_and_width_are_not_mistaken_for_each_other(folder: Path) -> None:
    assert read_pixels(find_images(folder), contract(height=5, width=3)).shape == (3, 5, 3, 3)


def test_normalising_subtracts_the_mean_and_divides_by_the_deviation_in_float32() -> None:
    how = Preprocessing(1, 256, "bgr", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
    pixels = np.repeat(np.arange(256, dtype=np.uint8)[None, None, :, None], 3, axis=3)
    expected = (pixels.astype(np.float32) - np.float32(how.mean)) / np.float32(how.std)
    found = normalise(pixels, how)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert found[0, 0, 255].tolist() == [pytest.approx((255 - m) / s, rel=1e-6) for m, s in zip(how.mean, how.std, strict=True)]


def test_pixels_taken_as_they_are_stay_exact() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(normalise(pixels, contract(16, 16, "gray")), pixels)


# What a set of images is known by.


def test_the_digest_follows_the_content(folder: Path) -> None:
    before = find_images(folder).digest
    write(folder / "cat" / "1.png", picture(RED, BLUE))
    assert find_images(folder).digest != before


def test_the_digest_follows_the_labels(folder: Path) -> None:
    before = find_images(folder).digest
    (folder / "cat").rename(folder / "fish")
    assert find_images(folder).digest != before


def test_the_digest_follows_the_table(listed: Callable[[str], ImageSet]) -> None:
    assert listed("a.png,cat\nmore/b.png,dog\n").digest != listed("a.png,dog\nmore/b.png,dog\n").digest


def test_the_digest_follows_the_npz_file(arrays: Callable[..., ImageSet]) -> None:
    black, white = np.zeros((1, 2, 2), np.uint8), np.full((1, 2, 2), 255, np.uint8)
    assert arrays(images=black).digest != arrays(images=white).digest


def test_the_digest_does_not_follow_dates_and_other_files(folder: Path) -> None:
    before = find_images(folder).digest
    os.utime(folder / "cat" / "1.png", (1, 1))
    (folder / "README.md").write_text("mine", encoding="utf-8")
    assert find_images(folder).digest == before


def test_the_digest_does_not_follow_the_place(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert find_images(tmp_path / "copy").digest == find_images(folder).digest
