# SPDX-License-Identifier: Apache-2.0
"""Finds the config of the model that a user names, by whichever of its files."""

import difflib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgeferry.models.audit.finding import some_of
from edgeferry.models.config.spec import ModelSpec, config_beside, read_spec
from edgeferry.models.config.teachable_machine import is_archive, unpacked
from edgeferry.models.loading.file_check import HDF5_SUFFIXES, SAVED_MODEL, ZIP_SUFFIXES
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.errors import EdgeError

CONFIG: Final = ".toml"
EXPECTED: Final = "expected a model's config (.toml), a Keras file saved with model.save('my.keras'), or a SavedModel folder"


class StarterError(EdgeError):
    """A starter config was written, and nothing else can be done before somebody adds images to it."""


def find_config(model: str, note: Callable[[str], None]) -> ModelSpec:
    """Return the config of a TOML file, or of the one next to a Keras file; a starter is written where there is none.

    ``note`` is called with each line a user should read: the file that was written, and what it assumes.

    Raises:
        EdgeError: nothing is named, there is no such file, or it is of another kind.
        StarterError: the starter still needs images.
    """
    if not model.strip():
        raise EdgeError("EF-model-unnamed", "MODEL is empty; name a config or a Keras file, such as MODEL=path/to/my.keras.")
    path = Path(model).expanduser()
    place = path.absolute()
    saved = (place / SAVED_MODEL).is_file()
    if place.is_dir() and not saved:
        raise EdgeError("EF-model-folder", f"{place} is {_kind_of(place)}; {EXPECTED}.")
    if place.suffix == CONFIG and place.exists():
        return _noted(read_spec(place), note)
    if is_archive(place):
        place = unpacked(place)
        note(f"the model and the labels of {path.name} are in {place.parent}")
    config = config_beside(place)
    if (saved or place.suffix in {*ZIP_SUFFIXES, *HDF5_SUFFIXES}) and config.is_file():
        return _noted(read_spec(config), note)
    if not place.exists():
        raise EdgeError("EF-model-missing", f"{place}: there is no such file{_hint(path)}; {EXPECTED}.")
    return _started(place, note)


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
    close = difflib.get_close_matches(path.name, there, 1)
    meant = f", did you mean {close[0]}?" if close else ""
    return meant if path.is_absolute() else f" (a relative path starts at {Path.cwd()}){meant}"


def _started(model: Path, note: Callable[[str], None]) -> ModelSpec:
    from edgeferry.models.config.starter import write_starter
    from edgeferry.models.system.child import call_quietly

    path, assumed = call_quietly(write_starter, model)
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
