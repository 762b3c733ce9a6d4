# SPDX-License-Identifier: Apache-2.0
"""The zip file that Teachable Machine exports: keras_model.h5 and labels.txt, unpacked next to it."""

import zipfile
import zlib
from pathlib import Path
from typing import Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_whole

ZIP: Final = ".zip"
MODEL: Final = "keras_model.h5"
LABELS: Final = "labels.txt"
# The most bytes of each file: a model of Teachable Machine has 2.4 MB, one of 1000 classes 3.
MOST_BYTES: Final = {MODEL: 1 << 29, LABELS: 1 << 20}
# A file of its other exports, and what the export is called there.
OTHERS: Final = {
    "model_unquant.tflite": "TensorFlow Lite",
    "model.tflite": "TensorFlow Lite",
    "saved_model.pb": "TensorFlow, Savedmodel",
    "model.json": "TensorFlow.js",
}


def unpacked(archive: Path) -> Path:
    """Return the model in a zip file of Teachable Machine, unpacked with its labels to a folder of the same name next to it.

    Files that are there already and the same are kept.

    Raises:
        EdgeError: the zip file is damaged or another one, or the folder holds other files of these names.
    """
    folder = archive.with_suffix("")
    try:
        with zipfile.ZipFile(archive) as file:
            members = {name: _member(archive, file, name) for name in (MODEL, LABELS)}
            contents = {name: file.read(member) for name, member in members.items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise EdgeError("EF-model-damaged", f"{archive}: is damaged or cut short ({error}); download it again.") from None
    for name, data in contents.items():
        path = folder / name
        if not path.exists():
            write_whole(path, data)
        elif not path.is_file() or path.read_bytes() != data:
            raise EdgeError(
                "EF-model-unpacked", f"{path} exists already and is not the one in {archive.name}; remove or rename {folder}."
            )
    return folder / MODEL


def is_archive(path: Path) -> bool:
    """Return whether a path is a zip file that is no Keras model itself."""
    if path.suffix != ZIP or not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as file:
            return "config.json" not in file.namelist()
    except (zipfile.BadZipFile, OSError):
        # Unpacking it says what is wrong.
        return True


def _member(archive: Path, file: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """Return the one member of a name, in the zip file's own folder or in the only one that has it."""
    found = [each for each in file.infolist() if each.filename.rpartition("/")[2] == name]
    if len(found) != 1:
        held = {each.rpartition("/")[2] for each in file.namelist()}
        other = next((kind for known, kind in OTHERS.items() if known in held), None)
        hint = f" It is the export {other!r}; choose the tab TensorFlow and the type Keras." if other else ""
        raise EdgeError(
            "EF-model-file-kind",
            f"{archive}: holds {len(found) or 'no'} {name}; expected {MODEL} and {LABELS} of Teachable Machine.{hint}",
        )
    if found[0].file_size > MOST_BYTES[name]:
        raise EdgeError(
            "EF-model-too-large",
            f"{archive}: {name} has {found[0].file_size} bytes when unpacked; expected at most {MOST_BYTES[name]}.",
        )
    return found[0]
