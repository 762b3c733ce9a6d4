# SPDX-License-Identifier: Apache-2.0
"""Whether a compiled Edge TPU file was compiled from the int8 file that it claims as its parent.

The compiler signs nothing, but it keeps inputs and outputs, the operations that it leaves to the CPU, the name and scale of every
tensor it cuts at, and every weight. Measured on the pairs in libedgetpu's test data: the bytes of all weights are among its
parameters, uint8 unchanged, int8 with the sign bit flipped (of another classifier's weights 5 to 21 % are missing, of five sets
drawn from the same distribution as its own 0.25 to 0.41 %). None of those pairs is quantized per-channel.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgeferry.exporters.readers.edgetpu import left_to_cpu, packages_of
from edgeferry.exporters.readers.edgetpu_package import EdgeTpuPackage
from edgeferry.exporters.readers.record import Check
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.readers.tflite_graph import EDGETPU_OPERATION, FileOperation, FileTensor, Graph
from edgeferry.models.artifact import MANIFEST, Tensor, read_artifact
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of

PARENT: Final = "tflite-int8"
WEIGHTS: Final = "weights"
# The operations whose weights were found among the parameters.
WEIGHTED: Final = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "UNIDIRECTIONAL_SEQUENCE_LSTM")
# The package describes signed tensors as unsigned ones: the zero point moves by half the range.
OFFSETS: Final = {"int8": 2**7, "int16": 2**15}
# The suffix of a state that the Edge TPU updates, where it is an output.
STATE: Final = "_variable_output"
FLIPPED: Final = bytes(byte ^ 0x80 for byte in range(256))


def what_differs(compiled: Path, parent: Path, *, weights: bool = True) -> Check | None:
    """Return the first failed check that a compiled file comes from a parent, or None where none fails.

    Without ``weights`` only what the files declare is compared: enough where the compiler has just been run, and independent of
    how it lays out parameters.

    Raises:
        EdgeError: one of the files is damaged, or the first is not compiled.
    """
    checks = _checks(*_read(compiled, parent))
    return next((each for each in checks if each.state == "failed" and (weights or each.name != WEIGHTS)), None)


def checks_of(compiled: Path, parent: Path) -> tuple[Check, ...]:
    """Return every comparison of a compiled file with its parent, each passed, failed or not checked.

    Raises:
        EdgeError: one of the files is damaged, or the first is not compiled.
    """
    return (*_digest_check(compiled, parent), *_checks(*_read(compiled, parent)))


def parent_next_to(compiled: Path) -> Path | None:
    """Return the int8 artifact next to a compiled artifact's file, where there is one."""
    folder = compiled.resolve().parent.parent / PARENT
    return folder if (folder / MANIFEST).is_file() else None


def _read(compiled: Path, parent: Path) -> tuple[Graph, Graph]:
    graph, source = read_graph(compiled), read_graph(parent)
    if not graph.is_compiled:
        raise EdgeError("EF-edgetpu-not-compiled", f"{compiled} has no {EDGETPU_OPERATION}: it is not compiled for the Edge TPU")
    if source.is_compiled:
        raise EdgeError(
            "EF-edgetpu-parent-compiled", f"{parent} is compiled itself; name the int8 file that {compiled} was compiled from"
        )
    return graph, source


def _digest_check(compiled: Path, parent: Path) -> Iterator[Check]:
    """Yield whether the parent is the one that the compiled file's manifest names."""
    folder = compiled.parent
    if not (folder / MANIFEST).is_file():
        return
    named = read_artifact(folder).options.get("parent_sha256")
    if named is not None:
        same = named == sha256_of(parent)
        reason = "the manifest names the parent's sha256" if same else "the manifest names the sha256 of another file"
        yield Check("digest", "passed" if same else "failed", reason)


def _checks(compiled: Graph, parent: Graph) -> Iterator[Check]:
    packages = packages_of(compiled)
    yield _check("inputs and outputs", _sides_differ(compiled, parent), "the same types, shapes, scales and zero points")
    left = left_to_cpu(compiled)
    yield _check("CPU operations", _left_differ(left, parent), f"{len(left)} left, each also in the parent")
    layers = [layer for package in packages for layer in (*package.inputs, *package.outputs)]
    same = f"{len(layers)} inputs and outputs of the Edge TPU have the parent's sizes, scales and zero points"
    yield _check("layers", _layers_differ(layers, parent), same)
    yield _weights_check(packages, left, parent)


def _check(name: str, difference: str | None, same: str) -> Check:
    return Check(name, "passed", same) if difference is None else Check(name, "failed", difference)


def _sides_differ(compiled: Graph, parent: Graph) -> str | None:
    for side, here, there in (("input", compiled.inputs, parent.inputs), ("output", compiled.outputs, parent.outputs)):
        if len(here) != len(there):
            return f"it has {len(here)} {side}s, the parent {len(there)}"
        for one, other in zip(here, there, strict=True):
            if _form(one) != _form(other):
                return f"{side} {one.name} is {_text(one)}, the parent's {_text(other)}"
    return None


def _form(tensor: FileTensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.shape, tensor.scale, tensor.zero_point


def _text(tensor: FileTensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}{_quantization(tensor)}"


def _quantization(tensor: FileTensor | Tensor) -> str:
    return "" if tensor.scale is None else f" with scale {tensor.scale:.9g} and zero point {tensor.zero_point}"


def _key(operation: FileOperation) -> tuple[str, tuple[str, ...]]:
    return operation.custom or operation.name, tuple(tensor.name for tensor in operation.outputs)


def _left_differ(left: tuple[FileOperation, ...], parent: Graph) -> str | None:
    known = {_key(operation): operation for operation in parent.operations}
    for operation in left:
        counterpart = known.get(_key(operation))
        if counterpart is None:
            output = operation.outputs[0].name if operation.outputs else "nothing"
            return f"{operation.name} computes {output}; the parent has no such operation"
        for one, other in zip(operation.tensors, counterpart.tensors, strict=False):
            if _form(one) != _form(other) or one.constant != other.constant:
                return f"{operation.name}: {one.name} is {_text(one)}, the parent's {_text(other)}, or its constants differ"
    if len(left) >= len(parent.operations):
        return f"{len(left)} of {len(parent.operations)} operations are left to the CPU: none is compiled"
    return None


def _layers_differ(layers: list[Tensor], parent: Graph) -> str | None:
    known: dict[str, list[FileTensor]] = {}
    for tensor in (tensor for operation in parent.operations for tensor in operation.tensors):
        known.setdefault(tensor.name, []).append(tensor)
    if not layers:
        return "the package names no layers"
    for layer in layers:
        candidates = known.get(layer.name) or known.get(layer.name.removesuffix(STATE), [])
        if not candidates:
            return f"the parent has no tensor {layer.name}"
        if not any(_is_layer_of(layer, tensor) for tensor in candidates):
            found = f"{list(layer.shape)}{_quantization(layer)}"
            return f"{layer.name} is {found}, the parent's {_text(candidates[0])}"
    return None


def _is_layer_of(layer: Tensor, tensor: FileTensor) -> bool:
    zero_points = {tensor.zero_point, (tensor.zero_point or 0) + OFFSETS.get(tensor.dtype, 0)}
    same_size = math.prod(size or 0 for size in layer.shape) == math.prod(tensor.shape)
    return same_size and layer.scale == tensor.scale and layer.zero_point in zero_points


def _weights_check(packages: tuple[EdgeTpuPackage, ...], left: tuple[FileOperation, ...], parent: Graph) -> Check:
    weights = _mapped_weights(left, parent)
    expected: Counter[int] = Counter()
    for tensor in weights:
        held = bytes(tensor.constant)
        expected.update(held.translate(FLIPPED) if tensor.dtype == "int8" else held)
    if not weights:
        return Check(WEIGHTS, "not checked", f"no {', '.join(WEIGHTED)} of the parent is compiled")
    present: Counter[int] = Counter()
    for executable in (executable for package in packages for executable in package.executables):
        present.update(bytes(executable.parameters))
    absent, total = (expected - present).total(), expected.total()
    if absent:
        return Check(WEIGHTS, "failed", f"{absent} of the parent's {total} bytes of weights are not among the parameters")
    return Check(WEIGHTS, "passed", f"all {total} bytes of the parent's weights are among the parameters")


def _mapped_weights(left: tuple[FileOperation, ...], parent: Graph) -> list[FileTensor]:
    """Return the integer weights of the operations that are compiled, shared ones once."""
    keys = {_key(operation) for operation in left}
    compiled = [each for each in parent.operations if each.name in WEIGHTED and _key(each) not in keys]
    weights = {
        tensor.buffer: tensor
        for operation in compiled
        for tensor in operation.inputs[1:]
        if tensor is not None and tensor.dtype in {"int8", "uint8"} and tensor.constant_bytes
    }
    return list(weights.values())
