# SPDX-License-Identifier: Apache-2.0
"""The floating-point constants of OpenVINO's IR; float16 ones are converted to float32 before they are used."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.readers.openvino import TYPES, root_of
from edgeferry.exporters.weights.stored import Role, StoredWeight, as_float32

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    Graph = tuple[dict[str, Element], dict[tuple[str, str], str]]

# The axes of the second input, the weights; those of a grouped convolution have the groups first.
LAYOUTS: Final = {"Convolution": "OIHW", "GroupConvolution": "OIHW", "ConvolutionBackpropData": "IOHW", "MatMul": "IO"}
PASSING: Final = ("Convert", "Reshape")
FLOATS: Final = ("f16", "f32", "f64")


def stored_weights(path: Path) -> Iterator[StoredWeight]:
    """Yield each floating-point constant of an IR, and what it is used for."""
    import numpy as np

    net = root_of(path)
    layers = {each.attrib["id"]: each for each in net.findall("layers/layer")}
    data = np.memmap(path.with_suffix(".bin"), np.uint8, "r")
    uses = _uses(layers, net.findall("edges/edge"))
    for number, layer in layers.items():
        held = layer.find("data")
        if layer.attrib["type"] != "Const" or held is None or held.attrib["element_type"] not in FLOATS or not held.get("shape"):
            continue
        role, axes, of = uses.get(number, ("other", "", None))
        start, size = int(held.attrib["offset"]), int(held.attrib["size"])
        shape = [int(each) for each in held.attrib["shape"].split(",")]
        values = data[start : start + size].view(TYPES[held.attrib["element_type"]]).reshape(shape)
        if axes and values.ndim == len(axes) + 1:
            values = values.reshape(-1, *shape[2:])
        yield as_float32(layer.attrib["name"], values, role, axes if len(axes) == values.ndim else "", of)


def _uses(layers: "dict[str, Element]", edges: "list[Element]") -> dict[str, tuple[Role, str, str | None]]:
    """Return the role, the axes and, of a bias, the weights by the number of a constant."""
    # What feeds each input, by layer and port; types are converted and groups split off on the way.
    feeding: dict[tuple[str, int], str] = {}
    for edge in edges:
        feeding[edge.attrib["to-layer"], int(edge.attrib["to-port"])] = edge.attrib["from-layer"]

    def source(number: str, port: int) -> str:
        found = feeding.get((number, port), "")
        while found in layers and layers[found].attrib["type"] in PASSING:
            found = feeding.get((found, 0), "")
        return found

    uses: dict[str, tuple[Role, str, str | None]] = {}
    weights_of: dict[str, str] = {}
    for number, layer in layers.items():
        kind, inputs = layer.attrib["type"], (source(number, 0), source(number, 1))
        if kind in LAYOUTS and _is_constant(layers, inputs[1]):
            uses[inputs[1]] = ("weight", _axes(kind, layer), None)
            weights_of[number] = layers[inputs[1]].attrib["name"]
        elif kind == "Add":
            for computed, other in (inputs, inputs[::-1]):
                if computed in weights_of and _is_constant(layers, other):
                    uses.setdefault(other, ("bias", "", weights_of[computed]))
    return uses


def _is_constant(layers: "dict[str, Element]", number: str) -> bool:
    return number in layers and layers[number].attrib["type"] == "Const"


def _axes(kind: str, layer: "Element") -> str:
    data: Any = layer.find("data")
    transposed = kind == "MatMul" and data is not None and data.get("transpose_b") == "true"
    return "OI" if transposed else LAYOUTS[kind]
