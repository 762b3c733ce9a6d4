# SPDX-License-Identifier: Apache-2.0
"""The constants of the model's folded graph as a build folder keeps them, to compare the weights of its artifacts with."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from edgeferry.models.system.files import Sha256, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

# History: 1, the first.
SCHEMA: Final = 1
# The folder below build/<model>/, and its files.
WEIGHTS: Final = "weights"
RECORD: Final = "weights.json"
ARRAYS: Final = "constants.npz"

# What a converter may do to weights by merging the operations around them: nothing, one factor for all, one per channel.
Fold = Literal["none", "uniform", "per-channel"]


@dataclass(frozen=True)
class ModelConstant:
    """One constant of the model, [axes], float32; the letters of ``axes`` are TensorFlow's (HWIO, HWCM, HWOI, IO, OI), or none.

    ``layer`` is the layer that it belongs to. ``biases`` are the names of constants, one of which a file adds to what the weights
    are multiplied with; none where that is not certain. ``required`` is a constant that every file has to hold; another may be
    merged with its neighbours as ``fold`` says.
    """

    name: str
    layer: str
    role: Literal["weight", "bias", "other"]
    axes: str
    biases: tuple[str, ...]
    fold: Fold
    required: bool


@dataclass(frozen=True)
class Constants:
    """The record of a build folder's constants; ``key`` is the digest of what they follow from, ``sha256`` that of the arrays."""

    key: str
    source_sha256: str
    sha256: str
    constants: tuple[ModelConstant, ...]
    folder: Path

    def arrays(self) -> "Callable[[str], NDArray[np.float32]]":
        """Return what reads one constant by its name, from the file each time: a large model's are never all in memory."""
        import numpy as np

        archive = np.load(self.folder / ARRAYS, allow_pickle=False)
        return lambda name: archive[name]


def read_constants(folder: Path, sha256: Sha256 = sha256_of) -> Constants | None:
    """Return the constants kept in a folder, or None where there are none that are whole and of this release."""
    try:
        fields = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if fields["schema"] != SCHEMA or sha256(folder / ARRAYS) != fields["sha256"]:
            return None
        constants = tuple(ModelConstant(**{**each, "biases": tuple(each["biases"])}) for each in fields["constants"])
        return Constants(fields["key"], fields["source_sha256"], fields["sha256"], constants, folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def fields_of(constants: Constants) -> dict[str, Any]:
    """Return what the record's file holds."""
    return {
        "schema": SCHEMA,
        "key": constants.key,
        "source_sha256": constants.source_sha256,
        "sha256": constants.sha256,
        "constants": [asdict(each) for each in constants.constants],
    }


def write_arrays(path: Path, arrays: "Iterator[tuple[str, NDArray[np.float32]]]") -> None:
    """Write arrays by their names as an .npz file, uncompressed, one in memory at a time."""
    import zipfile

    import numpy as np

    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, values, allow_pickle=False)
