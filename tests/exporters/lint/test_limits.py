# SPDX-License-Identifier: Apache-2.0
"""Each limit of an Edge TPU operation, within it and beyond."""

import struct
from dataclasses import replace
from typing import Final

import pytest

from edgeferry.exporters.lint.edgetpu import edgetpu_findings, forecast
from edgeferry.exporters.lint.limits import CHECKS, MIN_RUNTIME, beyond, needs_runtime
from edgeferry.exporters.lint.runtimes import support_of
from edgeferry.exporters.readers.tflite_graph import FileOperation, FileTensor, Graph

IMAGE: Final = (1, 8, 8, 16)


def _tensor(shape: tuple[int, ...]) -> FileTensor:
    return FileTensor("net/layer/x", shape, shape, "int8", 1, 0, zero_point=0)


def _constant(*values: int) -> FileTensor:
    data = struct.pack(f"<{len(values)}i", *values)
    return FileTensor("values", (len(values),), (len(values),), "int32", 0, len(data), constant=memoryview(data))


def _weights(shape: tuple[int, ...], byte: int = 1) -> FileTensor:
    return FileTensor("weights", shape, shape, "int8", 1, 4, zero_point=0, constant=memoryview(bytes([byte] * 4)))


def _operation(name: str, *inputs: FileTensor, output: tuple[int, ...] = IMAGE, **builtin: int) -> FileOperation:
    return FileOperation(name, 1, inputs, (_tensor(output),), None, builtin=builtin)


_X: Final = _tensor(IMAGE)
_SEVEN: Final = _tensor((1, 8, 8, 7))
WITHIN: Final = (
    _operation("AVERAGE_POOL_2D", _X, FusedActivationFunction=0),
    _operation("MAX_POOL_2D", _X, FusedActivationFunction=0),
    _operation("CONCATENATION", _X, _X, _X, FusedActivationFunction=0, Axis=3),
    _operation("CONCATENATION", _X, _weights(IMAGE, 0), FusedActivationFunction=0),
    _operation("CONV_2D", _X, _weights((16, 3, 3, 16)), DilationWFactor=2, DilationHFactor=2),
    _operation("DEPTHWISE_CONV_2D", _X, _weights((1, 3, 3, 16)), DilationWFactor=1, DilationHFactor=1),
    _operation("FULLY_CONNECTED", _X, _weights((10, 1024)), output=(1, 10), WeightsFormat=0),
    _operation("SOFTMAX", _tensor((1, 16_000)), output=(1, 16_000)),
    _operation("MEAN", _SEVEN, _constant(1, 2), output=(1, 7)),
    _operation("MEAN", _X, _constant(3), output=(1, 8, 8)),
    _operation("SUM", _X, _constant(1, 2), output=(1, 16)),
    _operation("REDUCE_MAX", _X, _constant(-1), output=(1, 8, 8)),
    _operation("REDUCE_MIN", _X, _constant(1), output=(1, 8, 16)),
    _operation("SPLIT", _constant(-1), _X),
    _operation("PACK", _X, _X, Axis=1),
    _operation("PAD", _X, _constant(0, 0, 1, 1, 1, 1, 0, 0)),
    _operation("PRELU", _X, _weights((1, 1, 16))),
    _operation("STRIDED_SLICE", _X, _constant(0, 0), _constant(1, 1), _constant(1, 1)),
)
BEYOND: Final = (
    (_operation("AVERAGE_POOL_2D", _X, FusedActivationFunction=1), "an activation is fused"),
    (_operation("MAX_POOL_2D", _X, FusedActivationFunction=3), "an activation is fused"),
    (_operation("CONCATENATION", _X, _X, FusedActivationFunction=1), "an activation is fused"),
    (_operation("CONCATENATION", _X, _weights(IMAGE, 1)), "a constant other than zeros"),
    (_operation("CONCATENATION", _X, _X, _weights(IMAGE, 0)), "a constant other than zeros"),
    (_operation("CONV_2D", _X, _weights((16, 3, 3, 16)), DilationWFactor=1, DilationHFactor=2), "dilation 1 in x and 2 in y"),
    (_operation("DEPTHWISE_CONV_2D", _X, _weights((1, 3, 3, 16)), DilationWFactor=3, DilationHFactor=1), "dilation 3 in x"),
    (_operation("FULLY_CONNECTED", _X, _weights((10, 16)), output=(64, 10)), "more than one dimension"),
    (_operation("FULLY_CONNECTED", _X, _weights((10, 16)), output=(1, 10), WeightsFormat=1), "weights are shuffled"),
    (_operation("SOFTMAX", _tensor((1, 16_001)), output=(1, 16_001)), "more than 16000 elements"),
    (_operation("SOFTMAX", _X), "more than one dimension"),
    (_operation("MEAN", _SEVEN, _constant(-1), output=(1, 8, 8)), "a depth of 7, not a multiple of 4"),
    (_operation("MEAN", _X, _constant(0), output=(8, 8, 16)), "over the batch"),
    (_operation("SUM", _X, _constant(0, 1), output=(8, 16)), "over the batch"),
    (_operation("REDUCE_MAX", _X, _constant(-4), output=(8, 8, 16)), "over the batch"),
    (_operation("REDUCE_MIN", _X, _constant(0), output=(8, 8, 16)), "over the batch"),
    (_operation("SPLIT", _constant(0), _X), "over the batch"),
    (_operation("PACK", _X, _X, Axis=0), "over the batch"),
    (_operation("PAD", _X, _constant(0, 1, 0, 0, 0, 0, 0, 0)), "pads the batch"),
    (_operation("PRELU", _X, _weights((8, 8, 16))), "one slope per position"),
    (_operation("STRIDED_SLICE", _X, _constant(0, 0), _constant(8, 8), _constant(1, 2)), "strides other than 1"),
)


@pytest.mark.parametrize("operation", WITHIN, ids=lambda each: each.name)
def test_within_its_limit_an_operation_has_no_finding(operation: FileOperation) -> None:
    assert beyond(operation) is None


@pytest.mark.parametrize(("operation", "found"), BEYOND, ids=lambda each: each.name if isinstance(each, FileOperation) else "")
def test_beyond_its_limit_a_finding_has_a_fix(operation: FileOperation, found: str) -> None:
    limit = beyond(operation)
    assert limit is not None
    assert found in limit.found
    assert limit.fix


def test_every_check_is_tried_on_both_sides() -> None:
    assert {each.name for each in WITHIN} == {each.name for each, _ in BEYOND} == set(CHECKS)


def test_every_limit_of_the_table_is_checked() -> None:
    mapped = support_of("edgetpu").mapped
    # As text only: sizes that no file shows, the kind of an LSTM, newer compilers, and runtimes, which have their own finding.
    words = {"RESHAPE", "RESIZE_BILINEAR", "TILE", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
    assert {name for name, limits in mapped.items() if limits} == set(CHECKS) | set(MIN_RUNTIME) | words


def _found(*operations: FileOperation) -> list[tuple[str, str]]:
    graph = Graph(operations, len(operations), (), 0)
    return [(each.severity, each.rule) for each in edgetpu_findings(graph, support_of("edgetpu"))]


def test_conversions_of_the_input_are_left_to_the_cpu_and_the_rest_is_mapped() -> None:
    within = _operation("RELU", _X)
    cast, quantize = _operation("CAST", replace(_X, dtype="float32")), _operation("QUANTIZE", replace(_X, dtype="float32"))
    graph = Graph((cast, quantize, within, within), 4, (), 0)
    found = forecast(graph, support_of("edgetpu"))
    assert (found.mapped, found.cpu) == (2, 2)
    assert _found(cast, quantize, within) == [("possible", "float-tensors")] * 2
    assert _found(within, cast, within) == [("warning", "float-tensors")]


def test_a_limit_of_the_public_list_leaves_the_rest_to_the_cpu() -> None:
    within, past = _operation("RELU", _X), _operation("MAX_POOL_2D", _X, FusedActivationFunction=1)
    assert _found(within, past, within) == [("warning", "limit")]
    graph = Graph((within, past, within), 3, (), 0)
    expected = forecast(graph, support_of("edgetpu"))
    assert (expected.mapped, expected.cpu) == (1, 2)


def test_a_limit_without_a_public_source_is_a_possible_issue() -> None:
    softmax = _operation("SOFTMAX", _tensor((1, 20_000)), output=(1, 20_000))
    assert _found(softmax) == [("possible", "limit")]
    assert forecast(Graph((softmax,), 1, (), 0), support_of("edgetpu")).mapped == 1


@pytest.mark.parametrize(("name", "version"), MIN_RUNTIME.items())
def test_an_operation_of_a_later_runtime_is_a_possible_issue(name: str, version: int) -> None:
    operation = replace(_operation(name, _X, _weights((16, 3, 3, 16))))
    assert needs_runtime(operation) == version
    assert _found(operation) == [("possible", "edgetpu-runtime")]
