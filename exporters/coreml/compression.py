# SPDX-License-Identifier: Apache-2.0
"""Weights of an ML Program in fewer bits: int8 with a scale a channel, or numbers of a palette's values.

The device computes in float16 with what they stand for. Sources: coremltools 9.0, ``coremltools.optimize.coreml`` and the
operations ``constexpr_affine_dequantize`` (iOS 16), ``constexpr_blockwise_shift_scale`` (iOS 18), ``constexpr_lut_to_dense``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.coreml.package import operations_of, specification_of
from edgeferry.models.system.errors import EdgeError

# Half of coremltools' own, or the smallest networks would keep all of theirs: a palette of 64 values takes 128 bytes,
# a scale a channel 2, beside a kilobyte saved.
LEAST_ELEMENTS: Final = 1024
DEQUANTIZE: Final = ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale")
LOOK_UP: Final = ("constexpr_lut_to_dense",)
# The input that holds a number a weight.
HELD_AS: Final = ("quantized_data", "data", "indices")
# MIL.proto's DataType.
FLOAT16: Final = 10


@dataclass(frozen=True)
class Compression:
    """One way to hold weights: ``bits`` each, read by a constant expression, one of ``operations``."""

    name: str
    bits: int
    operations: tuple[str, ...]
    summary: str

    def check(self, package: Path) -> tuple[str, ...]:
        """Return what a user should know of a package compressed so; it must really be.

        Raises:
            EdgeError: no weight of it is compressed, one is with other bits, or most numbers are not.
        """
        operations = operations_of(specification_of(package))
        expressions = [each for each in operations if each.type in self.operations]
        held = [_bits(each, operations) for each in expressions]
        if not held:
            raise EdgeError(
                f"no weight has {LEAST_ELEMENTS} numbers or more, so nothing would be compressed: take coreml-float16 instead."
            )
        if others := sorted({bits for bits in held if bits != self.bits}):
            raise EdgeError(f"the package holds weights in {others[0]} bits; expected {self.bits}")
        compressed_numbers = sum(_size(each.outputs[0].type.tensorType) for each in expressions)
        left = {each.outputs[0].name: _size(each.outputs[0].type.tensorType) for each in operations if _is_large(each)}
        if sum(left.values()) > compressed_numbers:
            raise EdgeError(
                f"coremltools left {sum(left.values())} numbers of large weights in float16, first {next(iter(left))}, and "
                f"compressed {compressed_numbers}: take coreml-float16 instead."
            )
        share = f"{len(held)} weights ({compressed_numbers} numbers) in {self.bits} bits; small ones and biases in float16"
        return (share,) if not left else (share, f"left in float16 by coremltools: {', '.join(left)}")


INT8: Final = Compression("int8", 8, DEQUANTIZE, "int8, symmetric, a scale a channel")
PALETTE6: Final = Compression("palettized6", 6, LOOK_UP, "64 values a layer, by k-means")
PALETTE4: Final = Compression("palettized4", 4, LOOK_UP, "16 values a layer, by k-means")


def compressed(model: Any, how: Compression) -> Any:
    """Return a float16 ML Program with its large weights compressed; the one given stays as it is."""
    import coremltools.optimize.coreml as cto

    if how.operations == LOOK_UP:
        palette = cto.OpPalettizerConfig(mode="kmeans", nbits=how.bits, weight_threshold=LEAST_ELEMENTS)
        return cto.palettize_weights(model, cto.OptimizationConfig(global_config=palette))
    linear = cto.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=LEAST_ELEMENTS
    )
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=linear))


def _bits(operation: Any, operations: Any) -> int:
    """Return how many bits the file holds for each number of a compressed weight."""
    kind = next(kind for name, kind in _given(operation, operations) if name in HELD_AS)
    width = re.search(r"\d+$", kind.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number[kind.dataType].name)
    if width is None:
        raise EdgeError(f"the package holds {operation.outputs[0].name} in a type without a size; export it anew.")
    # Before iOS 18 indices are packed into bytes, whose number is rounded up.
    return int(width[0]) * _size(kind) // _size(operation.outputs[0].type.tensorType)


def _given(operation: Any, operations: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and types of what a constant expression is given: as attributes until iOS 17, as inputs from iOS 18 on."""
    for name, value in operation.attributes.items():
        yield name, value.type.tensorType
    types = {output.name: output.type.tensorType for each in operations for output in each.outputs}
    for name, argument in operation.inputs.items():
        bound = argument.arguments[0]
        yield name, types[bound.name] if bound.name else bound.value.type.tensorType


def _is_large(operation: Any) -> bool:
    # A bias, of one dimension, is never compressed.
    kind = operation.outputs[0].type.tensorType
    return bool(
        operation.type == "const" and len(kind.dimensions) > 1 and kind.dataType == FLOAT16 and _size(kind) >= LEAST_ELEMENTS
    )


def _size(kind: Any) -> int:
    return prod(dimension.constant.size for dimension in kind.dimensions)
