# SPDX-License-Identifier: Apache-2.0
"""Whether a compiled Edge TPU file was made of the int8 file that it claims to come from.

The compiler signs nothing, but it keeps inputs and outputs, the operations that it leaves to the CPU, the name and scale of every
tensor it cuts at, and every weight. Measured on the pairs in libedgetpu's test data: the bytes of all weights stand among its
parameters, uint8 as they were, int8 with the sign bit flipped (of another classifier's 5 to 21 % are missing, of five sets
drawn from the same distribution as its own 0.25 to 0.41 %). None of those pairs has a scale a channel.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgeferry.exporters.inspect.record import Check
from edgeferry.exporters.readers.edgetpu import OPERATION, Package
from edgeferry.exporters.readers.tflite import Graph, Operation, Tensor, read_graph
from edgeferry.exporters.readers.tflite_facts import left_to_cpu, packages_of
from edgeferry.models.artifact import MANIFEST, read_artifact
from edgeferry.models.artifact import Tensor as Declared
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of

PARENT: Final = "tflite-int8"
# The operations whose weights were seen to stand among the parameters.
WEIGHTED: Final = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "UNIDIRECTIONAL_SEQUENCE_LSTM")
# The package tells of signed tensors as of unsigned ones: the zero point moves by half the range.
OFFSETS: Final = {"int8": 2**7, "int16": 2**15}
# What a state that the Edge TPU updates is called where it comes out.
STATE: Final = "_variable_output"
FLIPPED: Final = bytes(byte ^ 0x80 for byte in range(256))


def what_differs(compiled: Path, parent: Path, *, weights: bool = True) -> str | None:
    """Return what shows that a compiled file was not made of a parent, or None where nothing does.

    Without ``weights`` only what the files declare is compared: enough where the compiler has just been run, and independent of
    how it lays out parameters.

    Raises:
        EdgeError: one of the files is damaged, or the first is not compiled.
    """
    checks = _checks(*_read(compiled, parent))
    failed = (each for each in checks if each.state == "failed" and (weights or each.name != "weights"))
    return next((f"{each.name}: {each.reason}" for each in failed), None)


def checks_of(compiled: Path, parent: Path) -> tuple[Check, ...]:
    """Return everything that a compiled file is held to, each passed, failed or not checked.

    Raises:
        EdgeError: one of the files is damaged, or the first is not compiled.
    """
    return (*_digest_check(compiled, parent), *_checks(*_read(compiled, parent)))


def parent_beside(compiled: Path) -> Path | None:
    """Return the int8 artifact beside a compiled artifact's file, where there is one."""
    folder = compiled.resolve().parent.parent / PARENT
    return folder if (folder / MANIFEST).is_file() else None


def _read(compiled: Path, parent: Path) -> tuple[Graph, Graph]:
    graph, source = read_graph(compiled), read_graph(parent)
    if not any(each.custom == OPERATION for each in graph.operations):
        raise EdgeError(f"{compiled} holds no {OPERATION}: it is not compiled for the Edge TPU")
    if any(each.custom == OPERATION for each in source.operations):
        raise EdgeError(f"{parent} is compiled itself; name the int8 file that {compiled} was compiled from")
    return graph, source


def _digest_check(compiled: Path, parent: Path) -> Iterator[Check]:
    """Yield whether the parent is the one that the compiled file's manifest names."""
    folder = compiled.parent
    if not (folder / MANIFEST).is_file():
        return
    named = read_artifact(folder).options.get("parent_sha256")
    if named is not None:
        same = named == sha256_of(parent)
        told = "the manifest names the parent's sha256" if same else "the manifest names the sha256 of another file"
        yield Check("digest", "passed" if same else "failed", told)


def _checks(compiled: Graph, parent: Graph) -> Iterator[Check]:
    packages = packages_of(compiled)
    yield _check("inputs and outputs", _sides_differ(compiled, parent), "the same types, shapes, scales and zero points")
    left = left_to_cpu(compiled)
    yield _check("CPU operations", _left_differ(left, parent), f"{len(left)} left, each one of the parent's")
    layers = [layer for package in packages for layer in (*package.inputs, *package.outputs)]
    told = f"{len(layers)} that the Edge TPU takes and answers have the parent's sizes, scales and zero points"
    yield _check("layers", _layers_differ(layers, parent), told)
    yield _weights_check(packages, left, parent)


def _check(name: str, difference: str | None, told: str) -> Check:
    return Check(name, "passed", told) if difference is None else Check(name, "failed", difference)


def _sides_differ(compiled: Graph, parent: Graph) -> str | None:
    for side, here, there in (("input", compiled.inputs, parent.inputs), ("output", compiled.outputs, parent.outputs)):
        if len(here) != len(there):
            return f"it has {len(here)} {side}s, the parent {len(there)}"
        for one, other in zip(here, there, strict=True):
            if _form(one) != _form(other):
                return f"{side} {one.name} is {_told(one)}, the parent's {_told(other)}"
    return None


def _form(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.shape, tensor.scale, tensor.zero_point


def _told(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}{_quantization(tensor)}"


def _quantization(tensor: Tensor | Declared) -> str:
    return "" if tensor.scale is None else f" with scale {tensor.scale:.9g} and zero point {tensor.zero_point}"


def _key(operation: Operation) -> tuple[str, tuple[str, ...]]:
    return operation.custom or operation.name, tuple(tensor.name for tensor in operation.outputs)


def _left_differ(left: tuple[Operation, ...], parent: Graph) -> str | None:
    known = {_key(operation): operation for operation in parent.operations}
    for operation in left:
        original = known.get(_key(operation))
        if original is None:
            return (
                f"{operation.name} answers {operation.outputs[0].name if operation.outputs else 'nothing'}, the parent has none"
            )
        for one, other in zip(operation.tensors, original.tensors, strict=False):
            if _form(one) != _form(other) or one.constant != other.constant:
                return f"{operation.name}: {one.name} is {_told(one)}, the parent's {_told(other)}, or has other contents"
    if len(left) >= len(parent.operations):
        return f"{len(left)} operations are left of {len(parent.operations)}: none is compiled"
    return None


def _layers_differ(layers: list[Declared], parent: Graph) -> str | None:
    known: dict[str, list[Tensor]] = {}
    for tensor in (tensor for operation in parent.operations for tensor in operation.tensors):
        known.setdefault(tensor.name, []).append(tensor)
    if not layers:
        return "the package names none"
    for layer in layers:
        candidates = known.get(layer.name) or known.get(layer.name.removesuffix(STATE), [])
        if not candidates:
            return f"the parent has no tensor {layer.name}"
        if not any(_is_layer_of(layer, tensor) for tensor in candidates):
            told = f"{list(layer.shape)}{_quantization(layer)}"
            return f"{layer.name} is {told}, the parent's {_told(candidates[0])}"
    return None


def _is_layer_of(layer: Declared, tensor: Tensor) -> bool:
    zero_points = {tensor.zero_point, (tensor.zero_point or 0) + OFFSETS.get(tensor.dtype, 0)}
    same_size = math.prod(size or 0 for size in layer.shape) == math.prod(tensor.shape)
    return same_size and layer.scale == tensor.scale and layer.zero_point in zero_points


def _weights_check(packages: tuple[Package, ...], left: tuple[Operation, ...], parent: Graph) -> Check:
    weights = _mapped_weights(left, parent)
    expected: Counter[int] = Counter()
    for tensor in weights:
        held = bytes(tensor.constant)
        expected.update(held.translate(FLIPPED) if tensor.dtype == "int8" else held)
    if not weights:
        return Check("weights", "not checked", f"the parent has none of {', '.join(WEIGHTED)} that is compiled")
    present: Counter[int] = Counter()
    for executable in (executable for package in packages for executable in package.executables):
        present.update(bytes(executable.parameters))
    absent, total = (expected - present).total(), expected.total()
    if absent:
        return Check("weights", "failed", f"{absent} of the parent's {total} bytes of weights are not among the parameters")
    return Check("weights", "passed", f"all {total} bytes of the parent's weights are among the parameters")


def _mapped_weights(left: tuple[Operation, ...], parent: Graph) -> list[Tensor]:
    """Return the integer weights of the operations that are compiled, those that operations share once."""
    keys = {_key(operation) for operation in left}
    compiled = [each for each in parent.operations if each.name in WEIGHTED and _key(each) not in keys]
    weights = {
        tensor.buffer: tensor
        for operation in compiled
        for tensor in operation.inputs[1:]
        if tensor is not None and tensor.dtype in {"int8", "uint8"} and tensor.constant_bytes
    }
    return list(weights.values())
