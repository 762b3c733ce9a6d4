# SPDX-License-Identifier: Apache-2.0
"""The config of the model that a user names, by whichever of its files."""

from collections.abc import Callable
from pathlib import Path

from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.system.errors import EdgeError


def find_config(model: str, note: Callable[[str], None]) -> ModelSpec:
    """Return the config of a TOML file, or of the one beside a Keras file; a starter is written where there is none.

    ``note`` is called with each line a user should read: what was written, and what it assumes.

    Raises:
        EdgeError: nothing is named, there is no such file, it is of another kind, or the starter still needs images.
    """
    if not model.strip():
        raise EdgeError("MODEL is empty; name a model's TOML file or Keras file, such as MODEL=path/to/my.keras.")
    path = Path(model).expanduser()
    if path.suffix == ".toml" or (not path.suffix and not path.is_dir()):
        return read_spec(path)
    if path.is_dir():
        kind = "a SavedModel folder" if (path / "saved_model.pb").exists() else "a folder"
        raise EdgeError(f"{path}: is {kind}; expected a model's TOML file, or a file saved with model.save('my.keras').")
    config = path.with_suffix(".toml")
    if config.is_file():
        return read_spec(config)
    return _started(path, note)


def _started(model: Path, note: Callable[[str], None]) -> ModelSpec:
    from edgeferry.models.config.starter import write_starter
    from edgeferry.models.system.child import call_quietly

    path, assumed = call_quietly(write_starter, model)
    for line in (f"wrote {path}, a starter config", *(f"assumed: {each}" for each in assumed)):
        note(line)
    spec = read_spec(path)
    if not spec.golden.exists():
        raise EdgeError(
            f"{path} names golden images at {spec.golden}, which are not there. "
            f"Add labelled images there, edit {path.name}, and run again."
        )
    return spec
