# SPDX-License-Identifier: Apache-2.0
"""Writes a starter config next to a Keras file, and lists the lines that are assumptions."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeferry.models.config.labels import UTF_8, without_numbers
from edgeferry.models.config.spec import config_beside
from edgeferry.models.config.teachable_machine import LABELS, MODEL
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
THEIRS: Final = "what Teachable Machine's own example does"


@dataclass(frozen=True)
class _Images:
    """How images are assumed to become the input, and why."""

    range: str = "[0, 255]"
    why_range: str = "right where the model scales pixels itself (a Rescaling layer), else often [0, 1] or [-1, 1]"
    resize: str = "tf-bilinear"
    why_resize: str = "(image_dataset_from_directory, keras.layers.Resizing): set it to what the training used"
    fit: str = "stretch"
    why_fit: str = "set it to what the training used"


def write_starter(model: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the TOML file that was written next to a model, and what it assumes.

    Raises:
        EdgeError: the model cannot be loaded or is no image classifier, or the TOML file exists already.
    """
    check_file(model)
    path = config_beside(model)
    if path.exists():
        raise EdgeError("EF-config-exists", f"{path} exists already and was not changed; remove it to get a new one.")
    loaded = load(model)
    check_classifier(loaded, model)
    images = _images(model)
    assumed = tuple(_assumed(loaded, model, images))
    height, width, channels = (size or UNKNOWN_SIZE for size in loaded.model.inputs[0].shape[1:])
    notes = "".join(f"# Assumed: {note}.\n" for note in assumed)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.stem).lstrip("._-") or "model"
    labels = _labels(path, _classes(loaded))
    output = 'output = "logits"\n' if loaded.single_logit else ""
    write_whole(
        path,
        f"# The config of {model.name}. Every key is described in docs/config.md.\n{notes}"
        f'[model]\nname = "{name}"\nfile = {json.dumps(model.name, ensure_ascii=False)}\nlabels = {labels}\n'
        f"{output}\n"
        f'[input]\nshape = [{height}, {width}, {channels}]\ncolour = "{"gray" if channels == 1 else "rgb"}"\n'
        f'range = {images.range}\nresize = "{images.resize}"\nfit = "{images.fit}"\n\n'
        '[data]\ngolden = "golden"\ncalibration = "calibration"\n',
    )
    return path, assumed


def _classes(loaded: Loaded) -> int:
    return int(loaded.model.outputs[0].shape[1])


def _images(model: Path) -> _Images:
    """Return how images are assumed to be prepared: as Teachable Machine does for its own file next to its own labels."""
    if model.name == MODEL and without_numbers(_lines_of(model.with_name(LABELS))):
        return _Images("[-1, 1]", THEIRS, "lanczos", f"(Pillow): {THEIRS}", "crop", THEIRS)
    return _Images()


def _lines_of(labels: Path) -> list[str]:
    """Return the lines of a file of labels; none where there is no such file or it is no text."""
    try:
        return labels.read_text(encoding=UTF_8).rstrip().splitlines()
    except (OSError, ValueError):
        return []


def _labels(path: Path, classes: int) -> str:
    """Return the value of model.labels: labels.txt where that fits, a list, or a file of its own for a list that is too long."""
    if len(_lines_of(path.with_name(LABELS))) == classes:
        return json.dumps(LABELS)
    if classes <= MOST_IN_A_LIST:
        return "[" + ", ".join(f'"{number}"' for number in range(classes)) + "]"
    file = path.with_suffix(".labels.txt")
    if not file.exists():
        write_whole(file, "".join(f"{number}\n" for number in range(classes)))
    return json.dumps(file.name, ensure_ascii=False)


def _assumed(loaded: Loaded, model: Path, images: _Images) -> Iterator[str]:
    """Yield what a starter assumes of a model, line by line; what was changed in the model on loading comes first."""
    height, width, channels = loaded.model.inputs[0].shape[1:]
    yield from (f"the model {change.sentence}" for change in loaded.changes)
    if len(_lines_of(model.with_name(LABELS))) == _classes(loaded):
        yield f"labels are those of {LABELS}, in this order"
    else:
        yield f"labels are '0' to '{_classes(loaded) - 1}': replace them by the real ones, in the order of the model's outputs"
    yield "images are in golden/<label>/ and calibration/ next to this file, and no image is in both"
    if channels == COLOURS:
        yield "input.colour is 'rgb'"
    yield f"input.range is {images.range}: {images.why_range}"
    yield f"input.resize is '{images.resize}' {images.why_resize}"
    yield f"input.fit is '{images.fit}': {images.why_fit}"
    for side, size in (("height", height), ("width", width)):
        if size is None:
            yield f"{side} is {UNKNOWN_SIZE}, since the model takes any {side}"
