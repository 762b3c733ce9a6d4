# SPDX-License-Identifier: Apache-2.0
"""Writes a starter config next to a Keras file, and lists the lines that are assumptions."""

import json
import re
from pathlib import Path
from typing import Final

from edgeferry.models.keras_loader import check_file, load_model
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_whole

MOST_IN_A_LIST: Final = 50


def write_starter(model: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the TOML file that was written next to a model, and what it assumes.

    Raises:
        EdgeError: the model cannot be loaded or is no image classifier, or the TOML file exists already.
    """
    check_file(model)
    path = model.with_suffix(".toml")
    if path.exists():
        raise EdgeError("EF-config-exists", f"{path} exists already and was not changed; remove it to get a new one.")
    loaded = load_model(model)
    shape, classes = _shape(loaded, model)
    open_sides = [name for name, size in zip(("height", "width"), shape[:2], strict=True) if size is None]
    height, width, channels = (size or 224 for size in shape)
    assumed = [
        f"labels are '0' to '{classes - 1}': replace them by the real ones, in the order of the model's outputs",
        "input.range is [0, 255]: right where the model scales pixels itself (a Rescaling layer), else often [0, 1] or [-1, 1]",
        "images are in golden/<label>/ and calibration/ next to this file, and no image is in both",
        *(["input.colour is 'rgb'"] if channels == 3 else []),
        "input.resize is 'tf-bilinear' (image_dataset_from_directory, keras.layers.Resizing): set it to what the training used",
        "input.fit is 'stretch': set it to what the training used",
        *(f"{side} is 224, since the model takes any {side}" for side in open_sides),
    ]
    notes = "".join(f"# Assumed: {note}.\n" for note in assumed)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.stem).lstrip("._-") or "model"
    labels = _labels(path, classes)
    write_whole(
        path,
        f"# The config of {model.name}. Every key is described in docs/config.md.\n{notes}"
        f'[model]\nname = "{name}"\nfile = {json.dumps(model.name, ensure_ascii=False)}\nlabels = {labels}\n\n'
        f'[input]\nshape = [{height}, {width}, {channels}]\ncolour = "{"gray" if channels == 1 else "rgb"}"\nrange = [0, 255]\n'
        'resize = "tf-bilinear"\nfit = "stretch"\n\n'
        '[data]\ngolden = "golden"\ncalibration = "calibration"\n',
    )
    return path, tuple(assumed)


def _labels(path: Path, classes: int) -> str:
    """Return the value of model.labels: a list, or the name of a file next to the config where a list would be too long."""
    if classes <= MOST_IN_A_LIST:
        return "[" + ", ".join(f'"{number}"' for number in range(classes)) + "]"
    file = path.with_suffix(".labels.txt")
    if not file.exists():
        write_whole(file, "".join(f"{number}\n" for number in range(classes)))
    return json.dumps(file.name, ensure_ascii=False)


def _shape(loaded: "object", model: Path) -> tuple[tuple[int | None, int | None, int], int]:
    taken, given = loaded.input_shape, loaded.output_shape  # type: ignore[attr-defined]
    if not isinstance(taken, tuple) or len(taken) != 4 or taken[3] not in {1, 3}:
        raise EdgeError("EF-model-input", f"{model}: takes {taken}; expected one image, (batch, height, width, 1 or 3).")
    if not isinstance(given, tuple) or len(given) != 2 or not given[1] or given[1] < 2:
        raise EdgeError(
            "EF-model-output", f"{model}: outputs {given}; expected one score per class, (batch, classes), at least 2."
        )
    return (taken[1], taken[2], taken[3]), given[1]
