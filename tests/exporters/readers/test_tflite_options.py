# SPDX-License-Identifier: Apache-2.0
"""Options and short constants, read from a file that TensorFlow converted."""

import struct
from typing import Any

import pytest

from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.readers.tflite_options import whole_numbers


def test_options_are_those_that_tensorflow_wrote(exported_digits: Any) -> None:
    operations = read_graph(exported_digits.build / "tflite-int8" / "model.tflite").operations
    convolution = next(each for each in operations if each.name == "CONV_2D")
    dense = next(each for each in operations if each.name == "FULLY_CONNECTED")
    # Keras' ReLU(6), fused: number 3 of the schema's ActivationFunctionType.
    assert dict(convolution.builtin) == {"FusedActivationFunction": 3, "DilationWFactor": 1, "DilationHFactor": 1}
    assert dict(dense.builtin) == {"FusedActivationFunction": 0, "WeightsFormat": 0}


def test_the_axes_of_a_mean_are_read(exported_digits: Any) -> None:
    operations = read_graph(exported_digits.build / "tflite-int8" / "model.tflite").operations
    axes = next(each for each in operations if each.name == "MEAN").inputs[1]
    assert axes is not None
    assert whole_numbers(axes.constant, axes.dtype) == (1, 2)


@pytest.mark.parametrize(
    ("data", "dtype", "values"),
    [
        (struct.pack("<3i", -1, 0, 70_000), "int32", (-1, 0, 70_000)),
        (struct.pack("<3i", 1, 2, 3), "int8", ()),
        (struct.pack("<17i", *range(17)), "int32", ()),
        (b"\1\0\0\0\1", "int32", ()),
        (b"", "int32", ()),
    ],
)
def test_only_a_short_constant_of_int32_has_values(data: bytes, dtype: str, values: tuple[int, ...]) -> None:
    assert whole_numbers(memoryview(data), dtype) == values
