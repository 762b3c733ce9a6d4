# SPDX-License-Identifier: Apache-2.0
"""Writes a config that works from a model and a folder of photographs, and says what it assumes and from what."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeferry.models.audit.finding import some_of
from edgeferry.models.config.spec import ModelSpec, config_beside
from edgeferry.models.config.starter import (
    MOST_IN_A_LIST,
    UNKNOWN_SIZE,
    Preparation,
    preparation_of,
    refuse_existing,
    starter_text,
    toml_list,
    toml_name,
    toml_text,
)
from edgeferry.models.diagnosis.readings import input_lines
from edgeferry.models.image_labels import read_labels_if_any
from edgeferry.models.image_lists import place_of, write_list
from edgeferry.models.images import ImageSet
from edgeferry.models.keras_loader import load
from edgeferry.models.loading.facts import check_classifier
from edgeferry.models.loading.file_check import check_file
from edgeferry.models.loading.loaded import Loaded
from edgeferry.models.preprocessing import Preprocessing, opened, pixels_of
from edgeferry.models.starting.class_names import ClassNames, class_names
from edgeferry.models.starting.photographs import Photographs, find_photographs
from edgeferry.models.starting.proposal import Proposal, proposed
from edgeferry.models.starting.scaling import Scaling, scaling_of
from edgeferry.models.starting.split import MOST_CALIBRATION, MOST_GOLDEN, Labelled, check_enough, queues, taken
from edgeferry.models.system.files import write_json, write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class _Split:
    golden: list[Labelled]
    calibration: list[Labelled]
    refused: list[Path]
    photographs: Photographs


def write_config(
    model: Path, folder: Path, labels: Path | None = None, *, replaces: bool = False, code: str | None = None
) -> tuple[Path, tuple[str, ...]]:
    """Return the config that was written next to a model for the photographs in a folder, and what it assumes, line by line.

    ``labels`` is a file of the model's labels; ``replaces`` says whether files that are there are replaced.
    ``code`` is a custom module to run.

    Raises:
        EdgeError: the model is no image classifier, the photographs do not suit it, or the config exists already.
    """
    if code is None:
        # Before Keras is imported; else its classes are known only after that.
        check_file(model)
    path = config_beside(model)
    places = _Places(path)
    refuse_existing([] if replaces else [path, places.golden, places.calibration])
    photographs = find_photographs(folder)
    loaded = load(model, code)
    check_classifier(loaded, model)
    names = class_names(model, int(loaded.model.outputs[0].shape[1]), photographs, labels)
    known = _Known(loaded, names, _scaling(loaded, prepared := preparation_of(model)), prepared)
    spec = replace(_spec(model, places, known), custom_module=code)
    split = _split(photographs, spec.preprocessing)
    found = proposed(spec, loaded.model.predict_on_batch, *_golden(split, spec), is_known=known.scaling.is_known)
    lines = tuple(_lines(known, found, split, path.parent))
    _write(places, found.spec, names, split, lines)
    return path, lines


@dataclass(frozen=True)
class _Known:
    """What model and folders alone say."""

    loaded: Loaded
    names: ClassNames
    scaling: Scaling
    preparation: Preparation


@dataclass(frozen=True)
class _Places:
    """Where the files that belong to a config are."""

    config: Path

    @property
    def golden(self) -> Path:
        return self.config.with_suffix(".golden.csv")

    @property
    def calibration(self) -> Path:
        return self.config.with_suffix(".calibration.csv")

    @property
    def labels(self) -> Path:
        return self.config.with_suffix(".labels.json")


def _scaling(loaded: Loaded, prepared: Preparation) -> Scaling:
    found = scaling_of(loaded.model)
    if not prepared.is_known:
        return found
    mean, std = prepared.normalisation(len(found.mean))
    return replace(found, mean=mean, std=std, why=prepared.why_range, is_known=True)


def _spec(model: Path, places: _Places, known: _Known) -> ModelSpec:
    inside, scaling = known.loaded.model, known.scaling
    height, width = (size or UNKNOWN_SIZE for size in inside.inputs[0].shape[1:3])
    prepared = known.preparation
    return ModelSpec(
        name=toml_name(model),
        path=places.config,
        model=model,
        labels=known.names.labels,
        preprocessing=Preprocessing(height, width, scaling.colour, scaling.mean, scaling.std, prepared.resize, prepared.fit),
        golden=places.golden,
        calibration=places.calibration,
        output=known.loaded.output,
    )


def _split(photographs: Photographs, how: Preprocessing) -> _Split:
    """Return which photographs are golden and which are for calibration; each that is taken was decoded once."""
    seen: set[bytes] = set()
    refused: list[Path] = []

    def look(file: Path) -> bytes:
        return hashlib.blake2b(pixels_of(opened(file, str(file)), how).tobytes(), digest_size=16).digest()

    golden_queue, calibration_queue = queues(photographs)
    golden = taken(golden_queue, MOST_GOLDEN, seen, look, refused)
    calibration = taken(calibration_queue, MOST_CALIBRATION, seen, look, refused)
    check_enough(golden, calibration, photographs.folder, refused)
    return _Split(golden, calibration, refused, photographs)


def _golden(split: _Split, spec: ModelSpec) -> "tuple[ImageSet, NDArray[np.int64] | None]":
    files, labels = _columns(split.golden, split.photographs)
    images = ImageSet(spec.golden, files, labels, "")
    return images, read_labels_if_any(images, spec.labels)


def _columns(chosen: list[Labelled], photographs: Photographs) -> tuple[tuple[Path, ...], tuple[str, ...] | None]:
    files, labels = tuple(file for file, _ in chosen), tuple(label for _, label in chosen)
    return files, None if photographs.labels is None else labels


def _lines(known: _Known, found: Proposal, split: _Split, beside: Path) -> Iterator[str]:
    """Yield what the config assumes, and from what; folders are named relative to the config's."""
    yield from (f"the model {change.sentence}" for change in known.loaded.changes)
    yield f"labels are {some_of(found.spec.labels, 10)}: {known.names.source}"
    yield from _about_images(split, beside)
    how = found.spec.preprocessing
    yield f"[input] is {'; '.join(input_lines(how, replace(how, mean=(), std=(), colour='', resize='', fit='')))}"
    if known.scaling.is_known:
        yield f"values of pixels: {known.scaling.why}"
    yield from found.seen
    if found.accuracy is None:
        yield "whether this suits the model is unknown, since the photographs have no labels"
    else:
        yield f"the model is right on {found.accuracy:.1%} of {len(split.golden)} golden images so"


def _about_images(split: _Split, beside: Path) -> Iterator[str]:
    parts = split.photographs.calibration
    for name, chosen, photographs in (
        ("golden", split.golden, split.photographs),
        ("calibration", split.calibration, parts or split.photographs),
    ):
        kinds = "without labels" if photographs.labels is None else f"of {len({label for _, label in chosen})} labels"
        where = place_of(photographs.folder, beside.resolve())
        yield f"{name} images are {len(chosen)} {kinds}, of {len(photographs.files)} in {where}"
    if parts is None:
        yield "golden images may be among those that the model was trained on: their accuracy is then better than on new ones"
    if split.refused:
        yield f"{len(split.refused)} damaged files are left out: {some_of([file.name for file in split.refused])}"
    yield from (f"left out: {each}" for each in split.photographs.left_out)


def _write(places: _Places, spec: ModelSpec, names: ClassNames, split: _Split, lines: tuple[str, ...]) -> None:
    """Write the lists and then the config; where one cannot be written, those that were not there before are removed."""
    others = [each for each in (places.golden, places.calibration, places.labels) if not each.exists()]
    try:
        write_list(places.golden, *_columns(split.golden, split.photographs))
        write_list(places.calibration, *_columns(split.calibration, split.photographs.calibration or split.photographs))
        text = starter_text(spec, _labels(places, spec, names), lines)
        write_whole(places.config, text)
    except BaseException:
        for each in others:
            each.unlink(missing_ok=True)
        raise


def _labels(places: _Places, spec: ModelSpec, names: ClassNames) -> str:
    """Return the value of model.labels: a list, or for more than some dozens a file of them."""
    if len(spec.labels) <= MOST_IN_A_LIST:
        return toml_list(spec.labels)
    if names.file is not None and names.labels == spec.labels:
        return toml_text(place_of(names.file.resolve(), places.config.parent.resolve()))
    write_json(places.labels, list(spec.labels))
    return toml_text(places.labels.name)
