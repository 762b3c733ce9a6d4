# SPDX-License-Identifier: Apache-2.0
"""A model known by name, and how its files are made. A module of this folder registers its own in ``NAMED``."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.image_lists import LIST, read_list
from edgeferry.models.images import SUFFIXES
from edgeferry.models.starting.from_photographs import write_config
from edgeferry.models.system.child import call_quietly
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import whole_folder
from edgeferry.models.system.registry import records_in

# The folder below build/<name>/ that holds model, config and what else the model brings.
SOURCE: Final = "source"


@dataclass(frozen=True)
class Named:
    """A model known by name.

    ``make(file, images)`` writes the model to a ``.keras`` file; where ``has_images``, also its images and its config next to it,
    from the data set that ``images`` or the model itself names. ``doing`` says what that is, for who waits.
    """

    name: str
    summary: str
    doing: str
    make: Callable[[Path, Path | None], None]
    has_images: bool = False


@cache
def named_models() -> dict[str, Named]:
    """Return every model known by name, in alphabetical order."""
    from edgeferry.models import named

    found = [record for _, record in records_in(named, "NAMED")]
    return {each.name: each for each in sorted(found, key=lambda each: each.name.lower())}


def config_of_named(model: Named, build: Path, images: Path | None, note: Callable[[str], None]) -> ModelSpec:
    """Return the config of a model known by name, whose files are made in ``build/<name>/source/`` where they are not there.

    Raises:
        EdgeError: there are no images for it, others than in the config that is there, or its files cannot be made.
    """
    file = build / model.name / SOURCE / f"{model.name}.keras"
    config = file.with_suffix(".toml")
    if images is None and not config.exists() and not model.has_images:
        raise EdgeError(
            "EF-named-images",
            f"{model.name} brings no images: name a folder of photographs with --images FOLDER (with make, IMAGES=FOLDER), one "
            "folder per label, or without labels.",
        )
    if not file.exists():
        note(model.doing)
        call_quietly(_made, model.name, file, images)
    if config.exists():
        return with_these_images(read_spec(config), None if model.has_images else images)
    note(f"looking at the photographs in {images}, and at what the model predicts for them")
    return config_of_photographs(file, images, note)


def config_of_photographs(model: Path, images: Path | None, note: Callable[[str], None], code: str | None = None) -> ModelSpec:
    """Return the config that is written for a model and a folder of photographs; ``code`` is a custom module to run."""
    path, assumed = call_quietly(partial(write_config, code=code), model, (images or Path()).expanduser().resolve())
    for line in (f"wrote {path}", *(f"assumed: {each}" for each in assumed)):
        note(line)
    return read_spec(path)


def with_these_images(spec: ModelSpec, images: Path | None) -> ModelSpec:
    """Return a config whose golden images are in a folder, where one is named.

    Raises:
        EdgeError: they are not.
    """
    if images is None:
        return spec
    folder = images.expanduser().resolve()
    files = read_list(spec.golden, SUFFIXES)[0] if spec.golden.suffix == LIST and spec.golden.is_file() else (spec.golden,)
    if not all(file.resolve().is_relative_to(folder) for file in files):
        raise EdgeError(
            "EF-images-other",
            f"{spec.path} exists and names other images than those in {images}; leave out --images, or write the config "
            f"again with `edgeferry init {spec.model} --images {images} --force`.",
        )
    return spec


def _made(name: str, file: Path, images: Path | None) -> None:
    try:
        with whole_folder(file.parent) as place:
            named_models()[name].make(place / file.name, images)
    except EdgeError:
        with suppress(OSError):
            # Only where nothing is in it.
            file.parent.parent.rmdir()
        raise
