# SPDX-License-Identifier: Apache-2.0
"""Reads an .onnx file; data that it keeps in other files is not opened."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.readers.protobuf import messages_at, texts_by_key
from edgeferry.exporters.readers.reader import LARGEST_PROTOBUF, PREPROCESSING, PROTOBUF_FIELD_1, Reader, first_bytes, in_json
from edgeferry.exporters.readers.record import AS_IS, FileMetadata, Inspection, counted, weighed
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import onnx

    from edgeferry.exporters.weights.stored import StoredWeight

# Other protobuf files begin with the same byte, so the suffix decides.
SUFFIXES: Final = (".onnx", "")
# The field of a ModelProto in onnx.proto.
METADATA_PROPS: Final = 14
# Bytes of one entry of the fields that hold numbers one by one.
ENTRY_BYTES: Final = {"float_data": 4, "int32_data": 4, "int64_data": 8, "double_data": 8, "uint64_data": 8}


@dataclass(frozen=True)
class OnnxFacts:
    """Of an ONNX file; ``external`` is how many initializers keep their data in other files, which are not opened."""

    ir_version: int
    opsets: dict[str, int]
    producer: str
    metadata: tuple[str, ...]
    external: int


def read_onnx(path: Path) -> Inspection:
    """Return what an .onnx file holds.

    Raises:
        EdgeError: it is larger than protobuf reads, damaged, or not ONNX.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    size = path.stat().st_size
    if size > LARGEST_PROTOBUF:
        raise EdgeError(
            "EF-file-too-large", f"{path} has {size} bytes; ONNX files are protobuf, which reads {LARGEST_PROTOBUF} at most."
        )
    try:
        return _read(ModelProto.FromString(path.read_bytes()), size)
    except (DecodeError, ValueError, RecursionError, MemoryError) as error:
        raise EdgeError(
            "EF-file-damaged", f"{path} cannot be read as ONNX ({type(error).__name__}: {error}); export or copy it again."
        ) from None


def metadata_of_onnx(path: Path) -> FileMetadata:
    """Return the labels, preprocessing and output in an .onnx file's metadata_props.

    Raises:
        EdgeError: the file is damaged.
    """
    try:
        texts = texts_by_key(messages_at(memoryview(path.read_bytes()), METADATA_PROPS))
        values: dict[str, Any] = {key: json.loads(texts[key]) for key in ("labels", "output", "preprocessing") if key in texts}
    except ValueError as error:
        raise EdgeError("EF-file-damaged", f"{path}: its metadata cannot be read ({error}); export it again") from None
    return in_json(values, path)


def _read(model: "onnx.ModelProto", size: int) -> Inspection:
    graphs = list(_graphs(model))
    if not model.opset_import or not any(graph.node for graph in graphs):
        raise ValueError("it names no operator set, or has no nodes")
    constants = {constant.name for constant in model.graph.initializer}
    initializers = [constant for graph in graphs for constant in graph.initializer]
    return Inspection(
        kind="onnx",
        bytes=size,
        operations=counted((_operation(node), None) for graph in graphs for node in graph.node),
        inputs=tuple(_tensor(each) for each in model.graph.input if each.name not in constants),
        outputs=tuple(map(_tensor, model.graph.output)),
        weights=weighed((_type_name(each.data_type), AS_IS, _bytes_of(each)) for each in initializers),
        facts=OnnxFacts(
            ir_version=model.ir_version,
            opsets={_text(each.domain) or "ai.onnx": each.version for each in model.opset_import},
            producer=f"{_text(model.producer_name)} {_text(model.producer_version)}".strip(),
            metadata=tuple(_text(each.key) for each in model.metadata_props),
            external=sum(each.data_location == each.EXTERNAL for each in initializers),
        ),
    )


def _graphs(model: "onnx.ModelProto") -> Iterator[Any]:
    """Yield the graph, those inside its nodes, and functions."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
        if hasattr(graph, "initializer"):
            yield graph
        else:
            yield _Function(graph.node)


class _Function:
    """A function's nodes with the fields of a graph."""

    def __init__(self, nodes: Any) -> None:
        self.node, self.initializer = nodes, ()


def _operation(node: Any) -> str:
    domain, name = _text(node.domain), _text(node.op_type)
    return name if domain in {"", "ai.onnx"} else f"{domain}::{name}"


def _tensor(value: Any) -> Tensor:
    described = value.type.tensor_type
    sizes = (size.dim_value if size.HasField("dim_value") else None for size in described.shape.dim)
    return Tensor(_text(value.name), tuple(sizes), _type_name(described.elem_type))


def _text(text: str | bytes) -> str:
    # protobuf returns a string that is not UTF-8 as bytes, by the schema's older syntax.
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def _bytes_of(constant: Any) -> int:
    single = sum(len(getattr(constant, name)) * size for name, size in ENTRY_BYTES.items())
    return len(constant.raw_data) + single + sum(map(len, constant.string_data))


def _type_name(number: int) -> str:
    from onnx import TensorProto

    name = TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else f"type number {number}"
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower())


def _matches(path: Path) -> bool:
    return first_bytes(path)[:1] == PROTOBUF_FIELD_1 and path.suffix in SUFFIXES


def _stored(path: Path) -> "Iterator[StoredWeight]":
    from edgeferry.exporters.weights.onnx import stored_weights

    return stored_weights(path)


READERS = (Reader("onnx", "ONNX", _matches, read_onnx, _stored, metadata_of_onnx, PREPROCESSING | {"labels", "output"}),)
