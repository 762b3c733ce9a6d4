# SPDX-License-Identifier: Apache-2.0
"""Reads a TensorFlow.js graph model: model.json and the weight files it names.

Source: tensorflowjs 4.22, ``write_weights.py`` and the converter's ``model.json``.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.readers.reader import PREPROCESSING, Reader, first_bytes, in_json
from edgeferry.exporters.readers.record import AS_IS, Check, FileMetadata, Inspection, counted, weighed
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from edgeferry.exporters.weights.stored import StoredWeight

FILE: Final = "model.json"
# Other formats are JSON, too, so the suffix decides.
SUFFIXES: Final = (".json", "")
LARGEST: Final = 2**28
HIGHEST_RANK: Final = 16
LARGEST_TENSOR: Final = 2**40
BYTES: Final = {"float32": 4, "float16": 2, "int32": 4, "uint16": 2, "uint8": 1, "bool": 1, "complex64": 8}


@dataclass(frozen=True)
class TfjsFacts:
    """Of a TensorFlow.js model: its weight files with their bytes, and the keys of its own metadata."""

    format: str
    shards: dict[str, int]
    metadata: tuple[str, ...]


def read_tfjs(place: Path) -> Inspection:
    """Return what a ``model.json``, or the one in a folder, and its weight files hold; whether those are complete is a check.

    Raises:
        EdgeError: it is damaged, or not such a model.
    """
    path = place / FILE if place.is_dir() else place
    if (size := path.stat().st_size) > LARGEST:
        raise EdgeError("EF-file-too-large", f"{path} has {size} bytes; expected at most {LARGEST}.")
    try:
        return _read(json.loads(path.read_bytes()), path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise EdgeError(
            "EF-file-damaged",
            f"{path} cannot be read as a TensorFlow.js model ({type(error).__name__}: {error}); export or copy it again.",
        ) from None


def metadata_of_tfjs(place: Path) -> FileMetadata:
    """Return the labels, preprocessing and output in the user-defined metadata of a ``model.json``, or of the one in a folder.

    Raises:
        EdgeError: it is damaged.
    """
    path = place / FILE if place.is_dir() else place
    try:
        values = json.loads(path.read_bytes()).get("userDefinedMetadata") or {}
    except (ValueError, AttributeError, RecursionError) as error:
        raise EdgeError("EF-file-damaged", f"{path}: its metadata cannot be read ({error}); export it again") from None
    return in_json(values if isinstance(values, dict) else {}, path)


def _read(model: dict[str, Any], path: Path) -> Inspection:
    topology = model["modelTopology"]
    functions = (topology.get("library") or {}).get("function") or []
    nodes = [*topology["node"], *(node for each in functions for node in each["nodeDef"])]
    constants = [constant for group in model["weightsManifest"] for constant in group["weights"]]
    shards = dict(_shards(model["weightsManifest"], path))
    signature = model.get("signature") or {}
    return Inspection(
        kind="tfjs",
        bytes=path.stat().st_size + sum(shards.values()),
        operations=counted((str(node["op"]), None) for node in nodes if node["op"] != "Const"),
        inputs=tuple(_tensor(name, each) for name, each in (signature.get("inputs") or {}).items()),
        outputs=tuple(_tensor(name, each) for name, each in (signature.get("outputs") or {}).items()),
        weights=weighed(map(_constant, constants)),
        facts=TfjsFacts(str(model.get("format", "")), shards, tuple(map(str, model.get("userDefinedMetadata") or {}))),
        checks=tuple(_check(group, path) for group in model["weightsManifest"]),
    )


def _shards(groups: list[dict[str, Any]], path: Path) -> Iterator[tuple[str, int]]:
    for group in groups:
        for name in group["paths"]:
            file = path.parent / _inside(name, path)
            yield name, file.stat().st_size if file.is_file() else 0


def _inside(name: Any, path: Path) -> str:
    if not isinstance(name, str) or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise EdgeError(
            "EF-path-outside", f"{path} names the weight file {name!r}, which is outside its folder; export it again."
        )
    return name


def _check(group: dict[str, Any], path: Path) -> Check:
    absent = [name for name in group["paths"] if not (path.parent / name).is_file()]
    if absent:
        return Check("weight files", "failed", f"{absent[0]} is missing; copy all files of the model")
    expected = sum(_constant(constant)[2] for constant in group["weights"])
    present = sum((path.parent / name).stat().st_size for name in group["paths"])
    if expected != present:
        return Check("weight files", "failed", f"they hold {present} bytes, expected {expected} by {FILE}; copy them again")
    return Check("weight files", "passed", f"{len(group['paths'])} with {expected} bytes, as {FILE} declares")


def _constant(constant: dict[str, Any]) -> tuple[str, str, int]:
    shape, quantization = constant["shape"], constant.get("quantization")
    if len(shape) > HIGHEST_RANK or not all(isinstance(size, int) and 0 <= size <= LARGEST_TENSOR for size in shape):
        raise ValueError(f"the shape of weight {constant['name']!r} is {shape!r}"[:200])
    dtype = str(constant["dtype"])
    kept = dtype if quantization is None else str(quantization["dtype"])
    stored = AS_IS if quantization is None or kept == "float16" else "per-tensor range"
    if kept not in BYTES:
        raise ValueError(f"weight {constant['name']!r} is of type {kept!r}; expected one of {', '.join(BYTES)}"[:200])
    size = math.prod(shape) * BYTES[kept]
    if size > LARGEST_TENSOR:
        raise ValueError(f"weight {constant['name']!r} would have {size} bytes"[:200])
    return kept, stored, size


def _tensor(name: str, info: dict[str, Any]) -> Tensor:
    sizes = [int(size["size"]) for size in (info["tensorShape"].get("dim") or [])]
    kind = str(info["dtype"]).removeprefix("DT_").lower()
    return Tensor(name, tuple(None if size < 0 else size for size in sizes), "float32" if kind == "float" else kind)


def _matches(path: Path) -> bool:
    file = path / FILE if path.is_dir() else path
    return first_bytes(file).lstrip()[:1] == b"{" and file.suffix in SUFFIXES


def _stored(path: Path) -> "Iterator[StoredWeight]":
    from edgeferry.exporters.weights.tfjs import stored_weights

    return stored_weights(path)


READERS = (Reader("tfjs", "TensorFlow.js", _matches, read_tfjs, _stored, metadata_of_tfjs, PREPROCESSING | {"labels", "output"}),)
