# SPDX-License-Identifier: Apache-2.0
"""Writes a starter config next to a Keras file, and lists the lines that are assumptions."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgeferry.models.config.labels import UTF_8, without_numbers
from edgeferry.models.config.spec import ModelSpec, config_beside, normalisation_of_range
from edgeferry.models.config.teachable_machine import LABELS, MODEL
from edgeferry.models.diagnosis.readings import input_lines
from edgeferry.models.image_lists import place_of
from edgeferry.models.keras_loader import load
from edgeferry.models.loading.custom_module import SOURCE
from edgeferry.models.loading.facts import check_classifier
from edgeferry.models.loading.file_check import check_file
from edgeferry.models.loading.loaded import Loaded
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_whole

MOST_IN_A_LIST: Final = 50
COLOURS: Final = 3
# The height or width that is assumed where a model takes any.
UNKNOWN_SIZE: Final = 224
THEIRS: Final = "what Teachable Machine's own example does"

# What a starter assumes of a model that ends in one sigmoid for each of several labels.
SEVERAL_LABELS: Final = "several labels can hold of one image, since the model ends in one sigmoid per label"


@dataclass(frozen=True)
class Preparation:
    """How images are assumed to become the input, and why; ``is_known`` where the file is of a kind that fixes it."""

    range: str = "[0, 255]"
    why_range: str = "right where the model scales pixels itself (a Rescaling layer), else often [0, 1] or [-1, 1]"
    resize: str = "tf-bilinear"
    why_resize: str = "(image_dataset_from_directory, keras.layers.Resizing): set it to what the training used"
    fit: str = "stretch"
    why_fit: str = "set it to what the training used"
    is_known: bool = False

    def normalisation(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and std of the range for so many channels."""
        low, high = json.loads(self.range)
        return normalisation_of_range(low, high, channels)


def write_starter(model: Path, *, replaces: bool = False, code: str | None = None) -> tuple[Path, tuple[str, ...]]:
    """Return the TOML file that was written next to a model, and what it assumes.

    ``replaces`` says whether one that is there is replaced; ``code`` is a custom module to run.

    Raises:
        EdgeError: the model cannot be loaded or is no image classifier, or the TOML file exists already.
    """
    if code is None:
        # Before Keras is imported; else its classes are known only after that.
        check_file(model)
    path = config_beside(model)
    refuse_existing([] if replaces else [path])
    loaded = load(model, code)
    check_classifier(loaded, model)
    prepared = preparation_of(model)
    assumed = tuple(_assumed(loaded, model, prepared))
    height, width, channels = (size or UNKNOWN_SIZE for size in loaded.model.inputs[0].shape[1:])
    colour = "gray" if channels == 1 else "rgb"
    spec = ModelSpec(
        name=toml_name(model),
        path=path,
        model=model,
        labels=(),
        preprocessing=Preprocessing(height, width, colour, *prepared.normalisation(channels), prepared.resize, prepared.fit),
        golden=path.with_name("golden"),
        calibration=path.with_name("calibration"),
        output=loaded.output,
        custom_module=code,
    )
    labels = _labels(path, _classes(loaded))
    write_whole(path, starter_text(spec, labels, assumed))
    return path, assumed


def refuse_existing(paths: Sequence[Path]) -> None:
    """Refuse to write over files.

    Raises:
        EdgeError: one of them exists.
    """
    if path := next((path for path in paths if path.exists()), None):
        raise EdgeError(
            "EF-config-exists", f"{path} exists already and was not changed; remove it to get a new one, or add --force."
        )


def starter_text(spec: ModelSpec, labels: str, assumed: Sequence[str]) -> str:
    """Return the text of a config; ``labels`` is the TOML of model.labels, ``assumed`` become comments."""
    how = spec.preprocessing
    notes = "".join(f"# Assumed: {line_of(note)}.\n" for note in assumed)
    output = "" if spec.output == "auto" else f'output = "{spec.output}"\n'
    scaling = input_lines(how, replace(how, mean=(), std=()))
    data = [("golden", spec.golden), ("calibration", spec.calibration)]
    return (
        f"# The config of {line_of(spec.model.name)}. Every key is described in docs/config.md.\n{notes}"
        f'[model]\nname = "{spec.name}"\nfile = {toml_text(spec.model.name)}\nlabels = {labels}\n'
        f"{output}{_custom_module(spec)}\n"
        f'[input]\nshape = [{how.height}, {how.width}, {how.channels}]\ncolour = "{how.colour}"\n'
        f'{"".join(f"{line}{chr(10)}" for line in scaling)}resize = "{how.resize}"\nfit = "{how.fit}"\n\n'
        f"[data]\n{''.join(f'{key} = {toml_text(path.name)}{chr(10)}' for key, path in data if path)}"
    )


def _custom_module(spec: ModelSpec) -> str:
    """Return the line of a custom module, a file relative to the config's folder."""
    module = spec.custom_module
    if module is None:
        return ""
    text = place_of(Path(module), spec.path.parent.resolve()) if module.endswith(SOURCE) else module
    return f"custom_module = {toml_text(text)}\n"


def toml_name(model: Path) -> str:
    """Return the value of model.name for a model: its file's name as far as it can name a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model.stem).lstrip("._-") or "model"


def toml_text(text: str) -> str:
    """Return a text as TOML writes it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_list(texts: Iterable[str]) -> str:
    """Return texts as TOML writes a list of them."""
    return f"[{', '.join(map(toml_text, texts))}]"


def line_of(text: str) -> str:
    """Return a text that may stand in a comment: on one line, without control characters."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _classes(loaded: Loaded) -> int:
    return int(loaded.model.outputs[0].shape[1])


def preparation_of(model: Path) -> Preparation:
    """Return how images are assumed to be prepared: as Teachable Machine does for its own file next to its own labels."""
    if model.name == MODEL and without_numbers(_lines_of(model.with_name(LABELS))):
        return Preparation("[-1, 1]", THEIRS, "lanczos", f"(Pillow): {THEIRS}", "crop", THEIRS, is_known=True)
    return Preparation()


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
        return toml_list(map(str, range(classes)))
    file = path.with_suffix(".labels.txt")
    if not file.exists():
        write_whole(file, "".join(f"{number}\n" for number in range(classes)))
    return json.dumps(file.name, ensure_ascii=False)


def _assumed(loaded: Loaded, model: Path, images: Preparation) -> Iterator[str]:
    """Yield what a starter assumes of a model, line by line; what was changed in the model on loading comes first."""
    height, width, channels = loaded.model.inputs[0].shape[1:]
    yield from (f"the model {change.sentence}" for change in loaded.changes)
    if loaded.sigmoids:
        yield SEVERAL_LABELS
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
