# SPDX-License-Identifier: Apache-2.0
"""Odd pictures: an app that prepares them right passes, and each usual mistake is named."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from PIL import Image

from edgeferry.exporters.shipping.conformance import conformance
from edgeferry.exporters.shipping.pictures import read_pictures, write_pictures
from edgeferry.models.preprocessing import Preprocessing, normalise, opened, pixels_of
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

HOW: Final = Preprocessing(32, 28, "rgb", (127.5,) * 3, (127.5,) * 3, "bilinear", "crop")
SHOWING: Final = "00-odd-size.png"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kit") / "conformance"
    write_pictures(HOW, folder)
    return folder


def prepared(kit: Path, place: Path, made: "Callable[[Image.Image], Pixels]") -> Path:
    """Write what a way to prepare pictures makes of all that can be read."""
    place.mkdir()
    for picture in read_pictures(kit):
        if not picture.refused:
            image = opened(kit / picture.file, picture.file)
            np.asarray(made(image)).tofile(place / f"{Path(picture.file).stem}.u8")
    return place


def read_otherwise(**changed: str) -> "Callable[[Image.Image], Pixels]":
    return lambda image: pixels_of(image, dataclasses.replace(HOW, **changed))  # type: ignore[arg-type]


def ignoring_exif(image: Image.Image) -> "Pixels":
    return pixels_of(Image.fromarray(np.asarray(image.convert("RGB"))), HOW)


def on_white(image: Image.Image) -> "Pixels":
    if "A" not in image.mode:
        return pixels_of(image, HOW)
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image.convert("RGBA"))
    return pixels_of(ground.convert("RGB"), HOW)


def with_profile(image: Image.Image) -> "Pixels":
    pixels = pixels_of(image, HOW)
    return pixels[..., ::-1] if image.info.get("icc_profile") else pixels


def aligned(image: Image.Image) -> "Pixels":
    """Return a picture resized with aligned corners, as old versions of tf.image.resize did."""
    source = np.asarray(image.convert("RGB"), np.float64)
    y, x = (np.linspace(0, old - 1, new) for old, new in zip(source.shape, (HOW.height, HOW.width), strict=False))
    low = np.floor(y).astype(int), np.floor(x).astype(int)
    high = np.minimum(low[0] + 1, source.shape[0] - 1), np.minimum(low[1] + 1, source.shape[1] - 1)
    dy, dx = (y - low[0])[:, None, None], (x - low[1])[None, :, None]
    top = source[low[0]][:, low[1]] * (1 - dx) + source[low[0]][:, high[1]] * dx
    bottom = source[high[0]][:, low[1]] * (1 - dx) + source[high[0]][:, high[1]] * dx
    return np.rint(top * (1 - dy) + bottom * dy).astype(np.uint8)


@pytest.mark.parametrize(
    ("made", "file", "mistake"),
    [
        (lambda image: pixels_of(image, HOW)[..., ::-1], SHOWING, "order: red and blue are exchanged"),
        (read_otherwise(resize="nearest"), SHOWING, "kernel: resized by 'nearest', not 'bilinear'"),
        (read_otherwise(resize="tf-bilinear"), SHOWING, "kernel: resized by 'tf-bilinear', not 'bilinear'"),
        (read_otherwise(fit="stretch"), SHOWING, "crop: the fit is 'stretch', not 'crop'"),
        (lambda image: np.rot90(pixels_of(image, HOW), 2), SHOWING, "rotation: turned by 180 degrees"),
        (ignoring_exif, "15-exif-6.jpg", "rotation: the EXIF orientation is ignored"),
        (on_white, "07-alpha.png", "opacity: drawn on white, not ignored"),
        (with_profile, "10-icc.png", "order: red and blue are exchanged"),
        (aligned, "08-palette.png", "half-pixel: the corners of both images are aligned"),
    ],
)
def test_a_mistake_is_named(kit: Path, tmp_path: Path, made: "Callable[[Image.Image], Pixels]", file: str, mistake: str) -> None:
    wrong, absent = conformance(kit, prepared(kit, tmp_path / "made", made), HOW)
    assert absent == []
    assert {each.picture.file: each.mistake for each in wrong}[file] == mistake


def test_what_is_right_passes(kit: Path, tmp_path: Path) -> None:
    assert conformance(kit, prepared(kit, tmp_path / "made", lambda image: pixels_of(image, HOW)), HOW) == ([], [])


def test_a_decoder_of_jpeg_may_round_otherwise(kit: Path, tmp_path: Path) -> None:
    made = prepared(kit, tmp_path / "made", lambda image: pixels_of(image, HOW))
    file = made / "17-progressive.u8"
    pixels = np.fromfile(file, np.uint8)
    np.where(pixels < 250, pixels + 3, pixels).astype(np.uint8).tofile(file)
    assert conformance(kit, made, HOW) == ([], [])
    np.where(pixels < 200, pixels + 50, pixels).astype(np.uint8).tofile(file)
    assert [each.picture.file for each in conformance(kit, made, HOW)[0]] == ["17-progressive.jpg"]


@pytest.mark.parametrize(
    ("scaled", "mistake"), [(lambda x: x, "0 to 255"), (lambda x: x / 255, "0 to 1"), (lambda x: x / 127.5 - 1, None)]
)
def test_the_range_of_an_input_is_named(
    kit: Path, tmp_path: Path, scaled: "Callable[[NDArray[np.float32]], NDArray[np.float32]]", mistake: str | None
) -> None:
    values = scaled(pixels_of(opened(kit / SHOWING, SHOWING), HOW).astype(np.float32))
    values.astype("<f4").tofile(tmp_path / "00-odd-size.f32")
    wrong, _ = conformance(kit, tmp_path, HOW)
    expected = [] if mistake is None else [f"range: the values are {mistake}, not what the config says"]
    assert [each.mistake for each in wrong] == expected


def test_an_input_in_single_precision_passes(kit: Path, tmp_path: Path) -> None:
    normalise(pixels_of(opened(kit / SHOWING, SHOWING), HOW), HOW).tofile(tmp_path / "00-odd-size.f32")
    wrong, absent = conformance(kit, tmp_path, HOW)
    assert wrong == []
    assert len(absent) == len([each for each in read_pictures(kit) if not each.refused]) - 1


def test_what_has_to_be_refused_is(kit: Path, tmp_path: Path) -> None:
    refused = next(each for each in read_pictures(kit) if each.refused)
    np.zeros((HOW.height, HOW.width, 3), np.uint8).tofile(tmp_path / f"{Path(refused.file).stem}.u8")
    (found,) = conformance(kit, tmp_path, HOW)[0]
    assert found.mistake == "expected that it is refused"


def test_a_file_of_another_size_is_an_error(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "00-odd-size.u8").write_bytes(b"123")
    with pytest.raises(EdgeError) as error:
        conformance(kit, tmp_path, HOW)
    assert error.value.code == "EF-conform-size"


def test_no_picture_is_alike_turned_mirrored_or_with_exchanged_colours(kit: Path) -> None:
    pixels = pixels_of(opened(kit / SHOWING, SHOWING), HOW)
    others = [pixels[..., ::-1], pixels[:, ::-1], pixels[::-1], pixels[::-1, ::-1]]
    assert all(np.abs(pixels.astype(int) - each).mean() > 10 for each in others)
