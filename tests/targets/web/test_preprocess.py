# SPDX-License-Identifier: Apache-2.0
"""The demo page's preprocessing in JavaScript, run by Node: what Python makes of a picture, to the bit."""

import base64
import dataclasses
import json
import shutil
import subprocess
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from edgeferry.models.config.spec import FITS, RESIZES
from edgeferry.models.preprocessing import Preprocessing, normalise, pixels_of
from edgeferry.models.system.places import ROOT

if TYPE_CHECKING:
    from PIL import Image

DEMO: Final = ROOT / "targets" / "web" / "demo"
MEAN: Final = (103.94, 116.78, 123.68)
STD: Final = (58.4, 57.1, 57.4)
# Returns, for each picture, the pixels and the tensor of each config, all bytes in base64.
PREPARE: Final = """
import { readFileSync } from 'node:fs';
const { normalise, pixelsOf } = await import('./preprocess.js');
const { pictures, configs } = JSON.parse(readFileSync(0, 'utf8'));
const encoded = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');
const made = pictures.map((picture) => {
  const decoded = { ...picture, data: Buffer.from(picture.data, 'base64') };
  return configs.map((config) => {
    const pixels = pixelsOf(decoded, config);
    return [encoded(pixels), encoded(normalise(pixels, config))];
  });
});
process.stdout.write(JSON.stringify(made));
"""


def test_every_filter_fit_and_colour_is_pythons_to_the_bit() -> None:
    pictures = [_random(size) for size in ((37, 53), (301, 17), (1, 1), (9, 240), (20, 24), (160, 120))]
    configs = [
        Preprocessing(*shape, colour, MEAN[: 1 if colour == "gray" else 3], STD[: 1 if colour == "gray" else 3], resize, fit)
        for shape, resize, fit, colour in product([(24, 20), (7, 50)], RESIZES, FITS, ("gray", "rgb", "bgr"))
    ]
    made = _prepared(pictures, configs)
    wrong = [
        (picture.size, config)
        for picture, row in zip(pictures, made, strict=True)
        for config, got in zip(configs, row, strict=True)
        if got != _expected(picture, config)
    ]
    assert wrong == []


def _random(size: tuple[int, int]) -> "Image.Image":
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def _prepared(pictures: "list[Image.Image]", configs: list[Preprocessing]) -> list[list[list[str]]]:
    if shutil.which("node") is None:
        pytest.skip("needs node")
    passed = {
        "pictures": [
            {"width": each.width, "height": each.height, "data": _encoded(each.convert("RGBA").tobytes())} for each in pictures
        ],
        "configs": [dataclasses.asdict(each) for each in configs],
    }
    command = ["node", "--input-type=module", "--eval", PREPARE]
    done = subprocess.run(command, input=json.dumps(passed), capture_output=True, text=True, check=True, cwd=DEMO, timeout=120)
    made: list[list[list[str]]] = json.loads(done.stdout)
    return made


def _expected(picture: "Image.Image", config: Preprocessing) -> list[str]:
    pixels = pixels_of(picture, config)
    return [_encoded(pixels.tobytes()), _encoded(normalise(pixels, config).tobytes())]


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
