# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from edgeferry.models.decision import ONE_LABEL
from edgeferry.models.golden.uploads import CANDIDATES, KINDS, LARGEST_FILE, UPLOADED, bases_of, files_in, kind_of, write_uploads
from edgeferry.models.preprocessing import Preprocessing, opened, pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLOURS = {"rgb": Preprocessing(24, 20, "rgb", (0.0,) * 3, (255.0,) * 3, "bicubic", "crop")}
COLOURS["bgr"] = Preprocessing(24, 20, "bgr", (0.0,) * 3, (255.0,) * 3, "bilinear", "stretch")
COLOURS["gray"] = Preprocessing(24, 20, "gray", (0.0,), (255.0,), "nearest", "pad")


def _seen(pixels: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    """Return the brightness and the texture of every quarter of an image: what stands for probabilities here."""
    plain = pixels.astype(np.float32) / 255
    texture = np.abs(np.diff(plain, axis=1, append=0))
    both = np.concatenate([plain, texture], axis=-1).reshape(len(pixels), 2, 12, 2, 10, -1)
    return both.mean(axis=(2, 4)).reshape(len(pixels), -1)


@pytest.fixture(params=sorted(COLOURS))
def how(request: pytest.FixtureRequest) -> Preprocessing:
    return COLOURS[request.param]


@pytest.fixture
def place(how: Preprocessing, tmp_path: Path) -> Path:
    """Return a folder with uploads made of random blocks, and of one golden file."""
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 255, (8, 6, 5, how.channels), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    golden = [tmp_path / "a.png", tmp_path / "large.bmp"]
    Image.fromarray(rng.integers(0, 255, (30, 30, 3), np.uint8)).save(golden[0])
    Image.new("RGB", (512, 512)).save(golden[1])
    assert golden[1].stat().st_size > LARGEST_FILE
    folder = tmp_path / "reference"
    folder.mkdir()
    write_uploads(folder, golden, blocks, how, _seen)
    return folder


def test_there_is_every_kind_of_file_and_none_is_large(place: Path) -> None:
    files = files_in(place)
    assert {kind_of(file) for file in files} == set(KINDS.values())
    assert len(files) == len(np.load(place / UPLOADED)) == 15
    assert all(file.stat().st_size <= LARGEST_FILE for file in files)


def test_the_probabilities_are_those_of_the_files_as_the_config_reads_them(place: Path, how: Preprocessing) -> None:
    pixels = np.stack([pixels_of(opened(file, file.name), how) for file in files_in(place)])
    assert (_seen(pixels) == np.load(place / UPLOADED)).all()


def test_the_same_images_make_the_same_files(place: Path, how: Preprocessing, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 255, (8, 6, 5, how.channels), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    write_uploads(tmp_path / "again", [tmp_path / "a.png"], blocks, how, _seen)
    assert [file.read_bytes() for file in files_in(tmp_path / "again")] == [file.read_bytes() for file in files_in(place)]


def test_what_is_made_is_made_of_unsure_images_and_of_blends_of_two_classes() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1) * 20
    scores = np.array([[0.5 + at / 100, 0.5 - at / 100] for at in range(12)], np.float32)[::-1]
    bases = bases_of(pixels, ONE_LABEL.margins(scores), np.arange(12))
    assert bases.ravel().tolist() == [220, 200, 180, 160, 10, 50, 90, 130]
    assert len(bases) == CANDIDATES


def _nearest(picture: Any, how: Preprocessing) -> Any:
    other = "nearest" if how.resize != "nearest" else "bilinear"
    return pixels_of(picture, Preprocessing(**{**vars(how), "resize": other}))


def _without_exif(picture: Any, how: Preprocessing) -> Any:
    return pixels_of(Image.fromarray(np.asarray(picture)) if "exif" in picture.info else picture, how)


def _on_white(picture: Any, how: Preprocessing) -> Any:
    if picture.mode != "RGBA":
        return pixels_of(picture, how)
    return pixels_of(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture), how)


def _numbers_of_a_palette(picture: Any, how: Preprocessing) -> Any:
    return pixels_of(Image.fromarray(np.asarray(picture)) if picture.mode == "P" else picture, how)


@pytest.mark.parametrize(
    ("wrong", "kinds"),
    [
        (_nearest, {"wide", "photo", "gray"}),
        (_without_exif, {"rotated"}),
        (_on_white, {"alpha"}),
        (_numbers_of_a_palette, {"palette", "gif"}),
    ],
)
def test_a_reader_with_a_mistake_is_seen_in_every_file_of_its_kind(
    wrong: Any, kinds: set[str], place: Path, how: Preprocessing
) -> None:
    files = files_in(place)
    apart = np.abs(_seen(np.stack([wrong(opened(file, file.name), how) for file in files])) - np.load(place / UPLOADED))
    seen = {file.stem.rpartition("-")[2]: each for file, each in zip(files, apart.max(axis=1), strict=True)}
    assert all(seen[kind] > 0.01 for kind in kinds)
