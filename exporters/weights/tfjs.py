# SPDX-License-Identifier: Apache-2.0
"""The constants of a TensorFlow.js graph model, dequantized; its layouts are TensorFlow's.

Source: tensorflowjs 4.22, ``write_weights.py`` and ``quantization.py``.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.readers.tfjs import FILE, read_tfjs
from edgeferry.exporters.weights.stored import Role, StoredWeight, as_float32

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The axes of a linear operation's second input; a fused operation has its bias as the third.
LAYOUTS: Final = {
    "Conv2D": "HWIO", "_FusedConv2D": "HWIO", "DepthwiseConv2dNative": "HWCM", "FusedDepthwiseConv2dNative": "HWCM",
    "Conv2DBackpropInput": "HWOI", "MatMul": "IO", "_FusedMatMul": "IO",
}  # fmt: skip
FUSED: Final = ("_FusedConv2D", "FusedDepthwiseConv2dNative", "_FusedMatMul")
ADDITIONS: Final = ("BiasAdd", "Add", "AddV2")


def stored_weights(place: Path) -> Iterator[StoredWeight]:
    """Yield each floating-point constant of a ``model.json``, or of the one in a folder, in the order of the file."""
    read_tfjs(place)
    path = place / FILE if place.is_dir() else place
    model = json.loads(path.read_bytes())
    uses = _uses(model["modelTopology"]["node"])
    for group in model["weightsManifest"]:
        files = _Shards([path.parent / name for name in group["paths"]])
        for entry in group["weights"]:
            found = _read(entry, files, uses.get(entry["name"], ("other", "", None)))
            if found is not None:
                yield found


def _uses(nodes: list[dict[str, Any]]) -> dict[str, tuple[Role, str, str | None]]:
    """Return the role, the axes and, of a bias, the weights by the name of a constant."""
    uses: dict[str, tuple[Role, str, str | None]] = {}
    weights_of: dict[str, str] = {}
    for node in nodes:
        inputs, operation = [_node(each) for each in node.get("input", ())], node["op"]
        if operation in LAYOUTS and len(inputs) > 1:
            transposed = bool(node.get("attr", {}).get("transpose_b", {}).get("b"))
            uses[inputs[1]] = ("weight", "OI" if transposed else LAYOUTS[operation], None)
            if operation in FUSED and len(inputs) > 2:
                uses[inputs[2]] = ("bias", "", inputs[1])
            else:
                weights_of[node["name"]] = inputs[1]
        elif operation in ADDITIONS and len(inputs) == 2 and inputs[0] in weights_of:
            uses.setdefault(inputs[1], ("bias", "", weights_of[inputs[0]]))
    return uses


def _node(name: str) -> str:
    return name.removeprefix("^").split(":")[0]


def _read(entry: dict[str, Any], files: "_Shards", use: tuple[Role, str, str | None]) -> StoredWeight | None:
    import numpy as np

    quantization = entry.get("quantization") or {}
    dtype = np.dtype(quantization.get("dtype", entry["dtype"]))
    numbers = np.frombuffer(files.take(math.prod(entry["shape"]) * dtype.itemsize), dtype).reshape(entry["shape"])
    role, axes, of = use
    axes = axes if len(axes) == numbers.ndim else ""
    if dtype.kind == "f":
        return as_float32(entry["name"], numbers, role, axes, of)
    if "scale" not in quantization:
        return None
    return _integers(entry["name"], numbers, quantization, (role, axes, of))


def _integers(
    name: str, numbers: "NDArray[Any]", quantization: dict[str, Any], use: tuple[Role, str, str | None]
) -> StoredWeight:
    import numpy as np

    scale, lowest = float(quantization["scale"]), float(quantization["min"])
    highest = lowest + scale * np.iinfo(numbers.dtype).max
    limits = (np.asarray(lowest, np.float32), np.asarray(highest, np.float32))
    values = (numbers * scale + lowest).astype(np.float32)
    return StoredWeight(name, values, np.asarray(scale, np.float32), *use, limits=limits)


class _Shards:
    """The bytes of several files, one after another."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._open: Any = None

    def take(self, size: int) -> bytes:
        """Return the next bytes; raises ValueError where the files end before."""
        parts = b""
        while len(parts) < size:
            if self._open is None:
                if not self._paths:
                    raise ValueError("the weight files end before the last weight")
                self._open = self._paths.pop(0).open("rb")
            part = self._open.read(size - len(parts))
            parts = parts + part if parts else part
            if len(parts) < size:
                self._open.close()
                self._open = None
        return parts
