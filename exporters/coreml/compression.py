# SPDX-License-Identifier: Apache-2.0
"""Weights of an ML Program stored in fewer bits: int8 with per-channel scales, or palettized (indices into a table of values).

The device computes in float16 with the decompressed values. Sources: coremltools 9.0, ``coremltools.optimize.coreml`` and the
operations ``constexpr_affine_dequantize`` (iOS 16), ``constexpr_blockwise_shift_scale`` (iOS 18), ``constexpr_lut_to_dense``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.coreml.conversion import FLOAT16
from edgeferry.exporters.coreml.package import DATA_TYPES, operations_of, specification_of
from edgeferry.models.system.errors import EdgeError

# Half of coremltools' default, which would leave the smallest networks uncompressed: a palette of 64 values takes 128 bytes and
# a scale 2 bytes per channel, while at least a kilobyte is saved.
LEAST_ELEMENTS: Final = 1024
DEQUANTIZE: Final = ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale")
LOOK_UP: Final = ("constexpr_lut_to_dense",)
# The input that holds one number per weight.
STORED_AS: Final = ("quantized_data", "data", "indices")


@dataclass(frozen=True)
class Compression:
    """One way to store weights: ``bits`` each, decompressed by a constant expression, one of ``operations``."""

    name: str
    bits: int
    operations: tuple[str, ...]
    summary: str

    def check(self, package: Path) -> tuple[str, ...]:
        """Return notes for the user on a package compressed this way, read from the package itself.

        Raises:
            EdgeError: none of its weights is compressed, one is compressed to other bits, or most numbers are uncompressed.
        """
        operations = operations_of(specification_of(package))
        expressions = [each for each in operations if each.type in self.operations]
        held = [_bits(each, operations) for each in expressions]
        if not held:
            raise EdgeError(
                "EF-coreml-compression",
                f"no weight has {LEAST_ELEMENTS} numbers or more, so nothing is compressed: use coreml-float16 instead.",
            )
        if others := sorted({bits for bits in held if bits != self.bits}):
            raise EdgeError("EF-coreml-package", f"the package holds weights in {others[0]} bits; expected {self.bits}")
        compressed_numbers = sum(_size(each.outputs[0].type.tensorType) for each in expressions)
        left = {each.outputs[0].name: _size(each.outputs[0].type.tensorType) for each in operations if _is_large(each)}
        if sum(left.values()) > compressed_numbers:
            raise EdgeError(
                "EF-coreml-compression",
                f"coremltools left {sum(left.values())} numbers of large weights in float16, first {next(iter(left))}, and "
                f"compressed {compressed_numbers}: use coreml-float16 instead.",
            )
        share = f"{len(held)} weights ({compressed_numbers} numbers) in {self.bits} bits; small ones and biases in float16"
        return (share,) if not left else (share, f"left in float16 by coremltools: {', '.join(left)}")


INT8: Final = Compression("int8", 8, DEQUANTIZE, "int8, symmetric, per-channel scales")
PALETTE6: Final = Compression("palettized6", 6, LOOK_UP, "6-bit palettized, 64 values per layer by k-means")
PALETTE4: Final = Compression("palettized4", 4, LOOK_UP, "4-bit palettized, 16 values per layer by k-means")


def compressed(model: Any, how: Compression) -> Any:
    """Return a copy of a float16 ML Program with its large weights compressed."""
    import coremltools.optimize.coreml as cto

    if how.operations == LOOK_UP:
        palette = cto.OpPalettizerConfig(mode="kmeans", nbits=how.bits, weight_threshold=LEAST_ELEMENTS)
        return cto.palettize_weights(model, cto.OptimizationConfig(global_config=palette))
    linear = cto.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=LEAST_ELEMENTS
    )
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=linear))


def _bits(operation: Any, operations: Any) -> int:
    """Return the number of bits stored for each number of a compressed weight."""
    kind = next(kind for name, kind in _inputs(operation, operations) if name in STORED_AS)
    width = re.search(r"\d+$", kind.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number[kind.dataType].name)
    if width is None:
        raise EdgeError(
            "EF-coreml-package", f"the package holds {operation.outputs[0].name} in a type without a size; export it again."
        )
    # Before iOS 18 indices are packed into bytes; the number of bytes is rounded up.
    return int(width[0]) * _size(kind) // _size(operation.outputs[0].type.tensorType)


def _inputs(operation: Any, operations: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and types of a constant expression's inputs, which are attributes until iOS 17 and inputs from iOS 18 on."""
    for name, value in operation.attributes.items():
        yield name, value.type.tensorType
    types = {output.name: output.type.tensorType for each in operations for output in each.outputs}
    for name, argument in operation.inputs.items():
        bound = argument.arguments[0]
        yield name, types[bound.name] if bound.name else bound.value.type.tensorType


def _is_large(operation: Any) -> bool:
    # A bias, which has one dimension, is never compressed.
    kind = operation.outputs[0].type.tensorType
    return bool(
        operation.type == "const"
        and len(kind.dimensions) > 1
        and DATA_TYPES.get(kind.dataType) == FLOAT16
        and _size(kind) >= LEAST_ELEMENTS
    )


def _size(kind: Any) -> int:
    return prod(dimension.constant.size for dimension in kind.dimensions)
