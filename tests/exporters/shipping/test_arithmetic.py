# SPDX-License-Identifier: Apache-2.0
"""The one description of the preprocessing, run as Python and as C++: what Pillow and TensorFlow make of it, to the bit."""

import io
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgeferry.exporters.shipping.arithmetic import pillow, reading, tensorflow
from edgeferry.exporters.shipping.code import steps_of
from edgeferry.exporters.shipping.language import CPLUSPLUS
from edgeferry.exporters.shipping.translation import constants, description, translated
from edgeferry.models.config.spec import COLOURS, FITS, RESIZES
from edgeferry.models.preprocessing import Preprocessing, pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES: Final = ((37, 53), (61, 17), (1, 1), (9, 40), (20, 24))
SHAPES: Final = ((24, 20), (7, 30))
# Answers each line "width height orientation config", and the picture's bytes after it, with pixels.
MAIN: Final = """
int main() {
    int64_t width, height, config;
    while (std::fread(&width, 8, 1, stdin) == 1) {
        std::fread(&height, 8, 1, stdin);
        std::fread(&config, 8, 1, stdin);
        std::vector<uint8_t> rgba(static_cast<size_t>(width * height * 4));
        std::fread(rgba.data(), 1, rgba.size(), stdin);
        const std::vector<uint8_t> made = answered(upright(rgba, width, height, 1), width, height, config);
        std::fwrite(made.data(), 1, made.size(), stdout);
    }
}
"""


def configs() -> list[Preprocessing]:
    return [
        Preprocessing(*shape, colour, (0.0,), (1.0,), resize, fit)
        for shape, resize, fit, colour in product(SHAPES, RESIZES, FITS, COLOURS)
    ]


def picture(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def described(image: Image.Image, how: Preprocessing) -> "NDArray[np.uint8]":
    """Return what the description, run as Python, makes of a picture."""
    steps = steps_of(how)
    family = tensorflow if steps.family == "tf" else pillow
    colours = reading.channels_of(list(image.convert("RGBA").tobytes()), *image.size, getattr(reading, steps.colour))
    made = getattr(family, steps.fitted)(colours, *image.size, how.channels, how.width, how.height, getattr(family, steps.kernel))
    return np.asarray(made, np.uint8).reshape(how.height, how.width, how.channels)


# A picture for each config: every config, every size.
PAIRS: Final = [(SIZES[at % len(SIZES)], how) for at, how in enumerate(configs())]


def test_the_description_is_what_python_does_to_the_bit() -> None:
    wrong = [
        (size, how) for size, how in PAIRS if not np.array_equal(described(picture(size), how), pixels_of(picture(size), how))
    ]
    assert wrong == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_orientation_says(orientation: int) -> None:
    image = Image.fromarray(np.random.default_rng(orientation).integers(0, 256, (5, 7, 4), dtype=np.uint8))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(file, "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(file)).tobytes()
    assert bytes(reading.upright(list(image.tobytes()), *image.size, orientation)) == expected


def test_every_config_has_a_description() -> None:
    assert {steps_of(how).fitted for how in configs()} <= set(description().functions)
    assert {steps_of(how).kernel for how in configs()} <= set(description().constants)


@pytest.mark.slow
def test_the_same_as_cplusplus_is_what_python_does_to_the_bit(tmp_path: Path) -> None:
    if (compiler := shutil.which("g++") or shutil.which("clang++")) is None:
        pytest.skip("needs a C++ compiler")
    (tmp_path / "all.cc").write_text(_program(), encoding="utf-8")
    subprocess.run(
        [compiler, "-std=c++17", "-Wall", "-Wno-unused-result", "-Werror", "all.cc", "-o", "all"], cwd=tmp_path, check=True
    )
    sent = b"".join(
        np.asarray([*size, number], np.int64).tobytes() + picture(size).convert("RGBA").tobytes()
        for number, (size, _) in enumerate(PAIRS)
    )
    done = subprocess.run([tmp_path / "all"], input=sent, capture_output=True, check=True, timeout=120)
    assert done.stdout == b"".join(pixels_of(picture(size), how).tobytes() for size, how in PAIRS)


def _program() -> str:
    """Return a program with every function, and a function that answers with the pixels of a config by its number."""
    functions = translated(CPLUSPLUS, "upright", "channels_of", *sorted({steps_of(how).fitted for how in configs()}))
    names = " ".join(f"{steps_of(how).kernel} {steps_of(how).colour}" for how in configs())
    cases = []
    for number, (_, how) in enumerate(PAIRS):
        steps = steps_of(how)
        first, second = steps.fitted.split("_")
        called = f"{first}{second.capitalize()}"
        sizes = f"{how.channels}, {how.width}, {how.height}, {steps.kernel}"
        cases.append(f"case {number}: return {called}(channelsOf(rgba, width, height, {steps.colour}), width, height, {sizes});")
    headers = "".join(f"#include <{each}>\n" for each in ("algorithm", "cmath", "cstdint", "cstdio", "vector"))
    head = "std::vector<uint8_t> answered(const std::vector<uint8_t>& rgba, int64_t width, int64_t height, int64_t config) {"
    answered = "\n".join([head, "switch (config) {", *cases, "}", "return {};", "}"])
    return "\n".join([headers, constants(CPLUSPLUS, functions + names), functions, answered, MAIN])
