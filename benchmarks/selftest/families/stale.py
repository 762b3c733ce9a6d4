# SPDX-License-Identifier: Apache-2.0
"""Files that are not those that were exported."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.selftest.fault import Fault, random_of
from edgeferry.models.artifact import Artifact, Tolerance

# The name of the family whose files keep the digests that their manifest had.
UNSIGNED: Final = "changed file"


def _one_byte(folder: Path, artifact: Artifact) -> Artifact:
    file = folder / artifact.main_file
    data = bytearray(file.read_bytes())
    data[int(random_of(artifact.format).integers(len(data) // 2, len(data)))] ^= 1
    file.write_bytes(data)
    return artifact


def _edited(_folder: Path, artifact: Artifact) -> Artifact:
    return replace(artifact, tolerance=Tolerance(0.0, 1.0, 1.0, "anything", 1.0, 1e9))


FAULTS = (
    Fault("one byte of the file changed after the export", UNSIGNED, patch=_one_byte, shows="elsewhere"),
    Fault("the manifest edited after the export", UNSIGNED, patch=_edited, shows="elsewhere"),
)
