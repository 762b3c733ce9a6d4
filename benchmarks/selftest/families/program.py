# SPDX-License-Identifier: Apache-2.0
"""The container's program changed: how it reads an image file, and what it answers."""

from functools import partial
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.selftest.fault import Fault, Shows, impossible
from edgeferry.models.artifact import Artifact

PREPROCESSING: Final = "edgeferry/models/preprocessing.py"
CONTAINER: Final = frozenset({"container"})


def _rewritten(folder: Path, artifact: Artifact, old: str, new: str) -> Artifact:
    file = folder / PREPROCESSING
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if old not in text:
        raise impossible(f"the container's program does not contain {old!r}")
    file.write_text(text.replace(old, new), encoding="utf-8")
    return artifact


def _fault(name: str, old: str, new: str, shows: Shows = "elsewhere") -> Fault:
    return Fault(name, "container's program", patch=partial(_rewritten, old=old, new=new), kinds=CONTAINER, shows=shows)


FAULTS = (
    _fault("images resized by another filter", "how.resize.upper()", "('BOX' if how.resize == 'nearest' else 'NEAREST')"),
    _fault("EXIF orientation ignored", "ImageOps.exif_transpose(picture)", "picture"),
    _fault("images normalised otherwise", "- mean) / std", "- mean) / (std * 2)", "answers"),
    _fault("images fitted otherwise", 'how.fit == "crop"', 'how.fit != "crop"'),
    _fault("transparent images read as black", '"L" if how.colour', '"1" if how.colour', "answers"),
)
