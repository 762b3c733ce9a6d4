# SPDX-License-Identifier: Apache-2.0
"""What a TensorFlow.js graph model holds: model.json and the weight files it names.

Source: tensorflowjs 4.22, ``write_weights.py`` and the converter's ``model.json``.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.inspect.record import Check, Inspection, TfjsFacts, counted, weighed
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.errors import EdgeError

FILE: Final = "model.json"
LARGEST: Final = 2**28
HIGHEST_RANK: Final = 16
LARGEST_TENSOR: Final = 2**40
BYTES: Final = {"float32": 4, "float16": 2, "int32": 4, "uint16": 2, "uint8": 1, "bool": 1, "complex64": 8}


def read_tfjs(path: Path) -> Inspection:
    """Return what a ``model.json`` and the weight files beside it hold; whether the files are whole is a check.

    Raises:
        EdgeError: the file is none, or damaged.
    """
    if (size := path.stat().st_size) > LARGEST:
        raise EdgeError(f"{path} has {size} bytes; expected at most {LARGEST} of a {FILE}.")
    try:
        told = json.loads(path.read_bytes())
        return _read(told, path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise EdgeError(
            f"{path} cannot be read as a TensorFlow.js model ({type(error).__name__}: {error}); export or copy it anew."
        ) from None


def _read(told: dict[str, Any], path: Path) -> Inspection:
    topology = told["modelTopology"]
    functions = (topology.get("library") or {}).get("function") or []
    nodes = [*topology["node"], *(node for each in functions for node in each["nodeDef"])]
    constants = [constant for group in told["weightsManifest"] for constant in group["weights"]]
    shards = dict(_shards(told["weightsManifest"], path))
    signature = told.get("signature") or {}
    return Inspection(
        kind="tfjs",
        bytes=path.stat().st_size + sum(shards.values()),
        operations=counted((str(node["op"]), None) for node in nodes if node["op"] != "Const"),
        inputs=tuple(_tensor(name, each) for name, each in (signature.get("inputs") or {}).items()),
        outputs=tuple(_tensor(name, each) for name, each in (signature.get("outputs") or {}).items()),
        weights=weighed(map(_constant, constants)),
        facts=TfjsFacts(str(told.get("format", "")), shards, tuple(map(str, told.get("userDefinedMetadata") or {}))),
        checks=tuple(_check(group, path) for group in told["weightsManifest"]),
    )


def _shards(groups: list[dict[str, Any]], path: Path) -> Iterator[tuple[str, int]]:
    for group in groups:
        for name in group["paths"]:
            file = path.parent / _inside(name, path)
            yield name, file.stat().st_size if file.is_file() else 0


def _inside(name: Any, path: Path) -> str:
    if not isinstance(name, str) or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise EdgeError(f"{path} names the weight file {name!r}, which lies outside of its folder.")
    return name


def _check(group: dict[str, Any], path: Path) -> Check:
    absent = [name for name in group["paths"] if not (path.parent / name).is_file()]
    if absent:
        return Check("weight files", "failed", f"{absent[0]} is not there; copy all of the model's files")
    expected = sum(_constant(constant)[2] for constant in group["weights"])
    present = sum((path.parent / name).stat().st_size for name in group["paths"])
    if expected != present:
        return Check("weight files", "failed", f"they hold {present} bytes, {FILE} tells of {expected}; copy them anew")
    return Check("weight files", "passed", f"{len(group['paths'])} with the {expected} bytes that {FILE} tells of")


def _constant(constant: dict[str, Any]) -> tuple[str, str, int]:
    shape, quantization = constant["shape"], constant.get("quantization")
    if len(shape) > HIGHEST_RANK or not all(isinstance(size, int) and 0 <= size <= LARGEST_TENSOR for size in shape):
        raise ValueError(f"the shape of weight {constant['name']!r} is {shape!r}"[:200])
    dtype = str(constant["dtype"])
    kept = dtype if quantization is None else str(quantization["dtype"])
    stored = "as they are" if quantization is None or kept == "float16" else "a range a tensor"
    if kept not in BYTES:
        raise ValueError(f"weight {constant['name']!r} is of type {kept!r}; expected one of {', '.join(BYTES)}"[:200])
    size = math.prod(shape) * BYTES[kept]
    if size > LARGEST_TENSOR:
        raise ValueError(f"weight {constant['name']!r} would have {size} bytes"[:200])
    return kept, stored, size


def _tensor(name: str, told: dict[str, Any]) -> Tensor:
    sizes = [int(size["size"]) for size in (told["tensorShape"].get("dim") or [])]
    kind = str(told["dtype"]).removeprefix("DT_").lower()
    return Tensor(name, tuple(None if size < 0 else size for size in sizes), "float32" if kind == "float" else kind)
