# SPDX-License-Identifier: Apache-2.0
"""What a .tflite file describes: its labels, and the quantization of its input and output."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The associated file's name in TF Lite metadata, which Android's and Coral's readers look for.
LABELS_FILE: Final = "labels.txt"


def labels_in(path: Path) -> tuple[str, ...] | None:
    """Return the labels appended to a .tflite file as a zip archive, or None where it has none."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if LABELS_FILE not in archive.namelist():
            return None
        return tuple(archive.read(LABELS_FILE).decode("utf-8").splitlines())


def quantized(values: "NDArray[np.float32]", tensor: Mapping[str, Any]) -> "NDArray[np.generic]":
    """Return values as a tensor stores them: ``round(value / scale) + zero_point``, clipped to its type; floats as they are.

    ``tensor`` is the interpreter's description of it, read from the file.
    """
    import numpy as np

    dtype = np.dtype(tensor["dtype"])
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(dtype)
    stored: NDArray[np.generic] = np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(dtype)
    return stored


def dequantized(stored: "NDArray[np.generic]", tensor: Mapping[str, Any]) -> "NDArray[np.float32]":
    """Return the real values of stored integers: ``(stored - zero_point) * scale``; floats as they are."""
    import numpy as np

    if not np.issubdtype(stored.dtype, np.integer):
        return stored.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    values: NDArray[np.float32] = ((stored.astype(np.float32) - zero_point) * scale).astype(np.float32)
    return values


def delegate_name(partitions: int | None) -> str:
    """Return the delegate that took parts of the graph, on a CPU always XNNPACK; None where the count is unknown."""
    if partitions is None:
        return "unknown"
    return f"XNNPACK ({partitions} {'part' if partitions == 1 else 'parts'})" if partitions else "none"
