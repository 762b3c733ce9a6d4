# SPDX-License-Identifier: Apache-2.0
"""Reads OpenVINO's IR: the graph in ``model.xml``, the constants in the ``model.bin`` next to it.

Source: OpenVINO's documentation, "OpenVINO IR format", version 11.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.readers.reader import PREPROCESSING, Reader, first_bytes, in_json
from edgeferry.exporters.readers.record import AS_IS, Check, FileMetadata, Inspection, counted, weighed
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from edgeferry.exporters.weights.stored import StoredWeight

SUFFIXES: Final = (".xml", "")
LARGEST: Final = 2**28
WORDS: Final = {"f": ("float", (16, 32, 64)), "i": ("int", (8, 16, 32, 64)), "u": ("uint", (8, 16, 32, 64))}
TYPES: Final = {f"{letter}{size}": f"{word}{size}" for letter, (word, sizes) in WORDS.items() for size in sizes}


@dataclass(frozen=True)
class OpenvinoFacts:
    """Of an IR: its version, what wrote it, the bytes of its constants' file, and the keys of its metadata."""

    ir_version: int
    producer: str
    constants_bytes: int
    metadata: tuple[str, ...]


def read_openvino(path: Path) -> Inspection:
    """Return what a ``.xml`` file of an IR and the ``.bin`` file next to it hold; whether that is complete is a check.

    Raises:
        EdgeError: it is damaged, or not an IR.
    """
    net = root_of(path)
    try:
        return _read(net, path)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise _damaged(path, error) from None


def root_of(path: Path) -> "Element":
    """Return the root element of a ``.xml`` file.

    Raises:
        EdgeError: it is too large, damaged, or not an IR.
    """
    from xml.etree import ElementTree as ET

    if (size := path.stat().st_size) > LARGEST:
        raise EdgeError("EF-file-too-large", f"{path} has {size} bytes; expected at most {LARGEST}.")
    data = path.read_bytes()
    if b"<!" in data:
        # Entities may grow without limit; OpenVINO writes none.
        raise _damaged(path, ValueError("it holds a declaration"))
    try:
        net = ET.fromstring(data)  # noqa: S314 - without declarations there are no entities
    except (ET.ParseError, ValueError, LookupError) as error:
        raise _damaged(path, error) from None
    if net.tag != "net" or net.find("layers") is None:
        raise _damaged(path, ValueError(f"its root is {net.tag[:40]!r}"))
    return net


def _damaged(path: Path, error: Exception) -> EdgeError:
    why = f"{type(error).__name__}: {str(error)[:200]}"
    return EdgeError("EF-file-damaged", f"{path} cannot be read as OpenVINO IR ({why}); export or copy it again.")


def metadata_of_openvino(path: Path) -> FileMetadata:
    """Return the labels, preprocessing and output that OpenVINO took over from the ONNX file's metadata.

    Raises:
        EdgeError: it is damaged.
    """
    texts = _metadata(root_of(path))
    try:
        values: dict[str, Any] = {key: json.loads(texts[key]) for key in ("labels", "output", "preprocessing") if key in texts}
    except (ValueError, RecursionError) as error:
        raise EdgeError("EF-file-damaged", f"{path}: its metadata cannot be read ({error}); export it again") from None
    return in_json(values, path)


def _metadata(net: "Element") -> dict[str, str]:
    return {each.tag: each.get("value", "") for each in net.findall("rt_info/framework/*")}


def _read(net: "Element", path: Path) -> Inspection:
    layers = net.findall("layers/layer")
    constants = [_constant(each) for each in layers if each.get("type") == "Const"]
    data = path.with_suffix(".bin")
    size = data.stat().st_size if data.is_file() else 0
    info = net.find("rt_info/info")
    return Inspection(
        kind="openvino",
        bytes=path.stat().st_size + size,
        operations=counted(_operations(layers)),
        inputs=tuple(_tensor(each, each.find("output/port")) for each in layers if each.get("type") == "Parameter"),
        outputs=tuple(_tensor(each, each.find("input/port")) for each in layers if each.get("type") == "Result"),
        weights=weighed((dtype, AS_IS, length) for dtype, _, length in constants),
        facts=OpenvinoFacts(
            ir_version=int(net.get("version", "0")),
            producer="" if info is None else f"{info.get('name', '')} {info.get('value', '')}",
            constants_bytes=size,
            metadata=tuple(_metadata(net)),
        ),
        checks=(_check(max((offset + length for _, offset, length in constants), default=0), data, size),),
    )


def _operations(layers: "list[Element]") -> Iterator[tuple[str, int | None]]:
    for layer in layers:
        if (kind := layer.attrib["type"]) not in {"Const", "Parameter", "Result"}:
            number = layer.get("version", "").removeprefix("opset")
            yield kind, int(number) if number.isdecimal() else None


def _constant(layer: "Element") -> tuple[str, int, int]:
    """Return the type of a constant, and where its bytes begin and how many they are."""
    data = layer.find("data")
    if data is None:
        raise ValueError(f"the constant {layer.get('name', '')[:40]!r} has no data")
    offset, size = int(data.attrib["offset"]), int(data.attrib["size"])
    if offset < 0 or size < 0:
        raise ValueError("the bytes of a constant are before its file")
    kind = data.attrib["element_type"]
    return TYPES.get(kind, kind), offset, size


def _tensor(layer: "Element", port: Any) -> Tensor:
    sizes = [int(each.text or "") for each in port.findall("dim")]
    name = layer.get("output_names") or port.get("names") or layer.get("name", "")
    kind = port.attrib["precision"].lower().replace("fp", "f")
    return Tensor(name.partition(",")[0], tuple(None if size < 0 else size for size in sizes), TYPES.get(kind, kind))


def _check(expected: int, data: Path, size: int) -> Check:
    if not data.is_file():
        return Check("constants", "failed", f"{data.name} is missing; copy both files of the model")
    if size < expected:
        return Check("constants", "failed", f"{data.name} has {size} bytes, expected {expected}; copy it again")
    return Check("constants", "passed", f"{data.name} has the {expected} bytes that the graph names")


def _matches(path: Path) -> bool:
    return first_bytes(path).startswith((b"<?xml", b"<net")) and path.suffix in SUFFIXES


def _stored(path: Path) -> "Iterator[StoredWeight]":
    from edgeferry.exporters.weights.openvino import stored_weights

    return stored_weights(path)


NAMED: Final = PREPROCESSING | {"labels", "output"}
READERS = (Reader("openvino", "OpenVINO IR", _matches, read_openvino, _stored, metadata_of_openvino, NAMED),)
