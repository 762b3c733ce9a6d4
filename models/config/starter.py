# SPDX-License-Identifier: Apache-2.0
"""Writes a starter config next to a Keras file, and lists the lines that are assumptions."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgeferry.models.keras_loader import load
from edgeferry.models.loading.facts import check_classifier
from edgeferry.models.loading.file_check import check_file
from edgeferry.models.loading.loaded import Loaded
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_whole

MOST_IN_A_LIST: Final = 50
COLOURS: Final = 3
# The height or width that is assumed where a model takes any.
UNKNOWN_SIZE: Final = 224


def write_starter(model: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the TOML file that was written next to a model, and what it assumes.

    Raises:
        EdgeError: the model cannot be loaded or is no image classifier, or the TOML file exists already.
    """
    check_file(model)
    path = model.with_suffix(".toml")
    if path.exists():
        raise EdgeError("EF-config-exists", f"{path} exists already and was not changed; remove it to get a new one.")
    loaded = load(model)
    check_classifier(loaded, model)
    shape = loaded.model.inputs[0].shape[1:]
    height, width, channels = (size or UNKNOWN_SIZE for size in shape)
    assumed = tuple(_assumed(loaded))
    notes = "".join(f"# Assumed: {note}.\n" for note in assumed)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.stem).lstrip("._-") or "model"
    labels = _labels(path, loaded.model.outputs[0].shape[1])
    output = 'output = "logits"\n' if loaded.single_logit else ""
    write_whole(
        path,
        f"# The config of {model.name}. Every key is described in docs/config.md.\n{notes}"
        f'[model]\nname = "{name}"\nfile = {json.dumps(model.name, ensure_ascii=False)}\nlabels = {labels}\n'
        f"{output}\n"
        f'[input]\nshape = [{height}, {width}, {channels}]\ncolour = "{"gray" if channels == 1 else "rgb"}"\nrange = [0, 255]\n'
        'resize = "tf-bilinear"\nfit = "stretch"\n\n'
        '[data]\ngolden = "golden"\ncalibration = "calibration"\n',
    )
    return path, assumed


def _labels(path: Path, classes: int) -> str:
    """Return the value of model.labels: a list, or the name of a file next to the config where a list would be too long."""
    if classes <= MOST_IN_A_LIST:
        return "[" + ", ".join(f'"{number}"' for number in range(classes)) + "]"
    file = path.with_suffix(".labels.txt")
    if not file.exists():
        write_whole(file, "".join(f"{number}\n" for number in range(classes)))
    return json.dumps(file.name, ensure_ascii=False)


def _assumed(loaded: Loaded) -> Iterator[str]:
    """Yield what a starter assumes of a model, line by line; what was changed in the model on loading comes first."""
    height, width, channels = loaded.model.inputs[0].shape[1:]
    yield from (f"the model {change.sentence}" for change in loaded.changes)
    last = loaded.model.outputs[0].shape[1] - 1
    yield f"labels are '0' to '{last}': replace them by the real ones, in the order of the model's outputs"
    yield "input.range is [0, 255]: right where the model scales pixels itself (a Rescaling layer), else often [0, 1] or [-1, 1]"
    yield "images are in golden/<label>/ and calibration/ next to this file, and no image is in both"
    if channels == COLOURS:
        yield "input.colour is 'rgb'"
    yield "input.resize is 'tf-bilinear' (image_dataset_from_directory, keras.layers.Resizing): set it to what the training used"
    yield "input.fit is 'stretch': set it to what the training used"
    for side, size in (("height", height), ("width", width)):
        if size is None:
            yield f"{side} is {UNKNOWN_SIZE}, since the model takes any {side}"
