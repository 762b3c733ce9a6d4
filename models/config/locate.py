# SPDX-License-Identifier: Apache-2.0
"""Finds the config of the model that a user names, by whichever of its files."""

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from edgeferry.models.audit.finding import some_of
from edgeferry.models.config.spec import ModelSpec, config_beside, read_spec
from edgeferry.models.config.teachable_machine import is_archive, unpacked
from edgeferry.models.loading.file_check import HDF5_SUFFIXES, SAVED_MODEL, ZIP_SUFFIXES
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.models.system.registry import closest

CONFIG: Final = ".toml"
# The example that the repository contains.
DIGITS: Final = ROOT / "models" / "digits.toml"
NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
EXPECTED: Final = "expected a model's config (.toml), a Keras file saved with model.save('my.keras'), or a SavedModel folder"


class StarterError(EdgeError):
    """A starter config was written, and nothing else can be done before somebody adds images to it."""


def find_config(
    model: str,
    note: Callable[[str], None],
    build: Path = Path("build"),
    images: Path | None = None,
    code: str | None = None,
) -> ModelSpec:
    """Return the config of a TOML file, of the one next to a Keras file, or of a model known by name, which is made in ``build``.

    Where there is none, one is written: for the photographs in the folder ``images``, else a starter. ``note`` is called with
    each line a user should read: the file that was written, and what it assumes. ``code`` is a custom module to run then.

    Raises:
        EdgeError: nothing is named, there is no such file, it is of another kind, or its config names other images.
        StarterError: the starter still needs images.
    """
    if not model.strip():
        raise EdgeError("EF-model-unnamed", "MODEL is empty; name a config or a Keras file, such as MODEL=path/to/my.keras.")
    path = Path(model).expanduser()
    place = path.absolute()
    saved = (place / SAVED_MODEL).is_file()
    if (place.is_dir() and not saved) or not place.exists():
        if (spec := _known_by_name(model, note, build, images)) is not None:
            return spec
        if place.is_dir():
            raise EdgeError("EF-model-folder", f"{place} is {_kind_of(place)}; {EXPECTED}.")
    if is_archive(place):
        place = unpacked(place)
        note(f"the model and the labels of {path.name} are in {place.parent}")
    if (config := _config_there(place)) is not None:
        return _with_images(_noted(read_spec(config), note), images)
    if not place.exists():
        raise EdgeError("EF-model-missing", f"{place}: there is no such file{_hint(path)}; {EXPECTED}.")
    return _started(place, note, code) if images is None else _from_photographs(place, images, note, code)


def _config_there(place: Path) -> Path | None:
    """Return the config that a path is, or that is next to a model of that path; None where there is none."""
    if place.suffix == CONFIG and place.exists():
        return place
    config = config_beside(place)
    is_model = (place / SAVED_MODEL).is_file() or place.suffix in {*ZIP_SUFFIXES, *HDF5_SUFFIXES}
    return config if is_model and config.is_file() else None


def _known_by_name(model: str, note: Callable[[str], None], build: Path, images: Path | None) -> ModelSpec | None:
    from edgeferry.models.named.named import config_of_named, named_models

    if model == DIGITS.stem:
        return _with_images(read_spec(DIGITS), images)
    known = named_models().get(model)
    return None if known is None else config_of_named(known, build.absolute(), images, note)


def _with_images(spec: ModelSpec, images: Path | None) -> ModelSpec:
    from edgeferry.models.named.named import with_these_images

    return with_these_images(spec, images)


def _from_photographs(model: Path, images: Path, note: Callable[[str], None], code: str | None) -> ModelSpec:
    from edgeferry.models.named.named import config_of_photographs

    return config_of_photographs(model, images, note, code)


def config_of_same_name(spec: ModelSpec, recorded: object) -> Path | None:
    """Return the config that a build folder was exported from, if it is not this one and still has the same model.name.

    ``recorded`` is what the folder's reference names, of any type in a damaged one. Two such configs must not share the folder.
    """
    if not isinstance(recorded, str) or not Path(recorded).is_file() or Path(recorded).resolve() == spec.path.resolve():
        return None
    try:
        return Path(recorded) if read_spec(Path(recorded)).name == spec.name else None
    except EdgeError:
        return None


def _noted(spec: ModelSpec, note: Callable[[str], None]) -> ModelSpec:
    """Return a config; what was changed in its labels is reported first."""
    if spec.labels_numbered:
        note(f"{spec.path.name}: the numbers before the labels were taken off: {some_of(spec.labels)}")
    return spec


def _kind_of(folder: Path) -> str:
    if (folder / REFERENCE).is_dir():
        return "a build folder, which only `edgeferry check` and `edgeferry report` read"
    return "a folder"


def _hint(path: Path) -> str:
    """Return what may be wrong with the name of a missing file: another name there, or the folder it is relative to."""
    there = [each.name for each in path.absolute().parent.glob("*") if each.suffix in {CONFIG, *ZIP_SUFFIXES, *HDF5_SUFFIXES}]
    names = _names() if NAME.fullmatch(str(path)) else []
    close = closest(path.name, [*there, *names])
    meant = f", did you mean {close}?" if close else f"; known by name are {some_of(names, 4)}" if names else ""
    return meant if path.is_absolute() else f" (a relative path starts at {Path.cwd()}){meant}"


def _names() -> list[str]:
    from edgeferry.models.named.named import named_models

    # Those with a data set or weights of their own first.
    return [DIGITS.stem, *sorted(named_models(), key=lambda name: (not name.islower(), name))]


def _started(model: Path, note: Callable[[str], None], code: str | None) -> ModelSpec:
    from edgeferry.models.config.starter import write_starter
    from edgeferry.models.system.child import call_quietly

    path, assumed = call_quietly(partial(write_starter, model, code=code))
    for each in assumed:
        note(f"assumed: {each}")
    spec = _noted(read_spec(path), note)
    if not spec.golden.exists():
        raise StarterError(
            "EF-starter-written",
            f"starter written: {path}. Add labelled images at {spec.golden} and edit it, or write one that works with `edgeferry "
            f"init {shlex.quote(str(model))} --images FOLDER --force`, where FOLDER holds photographs, one folder per label.",
        )
    return spec
