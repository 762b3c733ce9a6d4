# SPDX-License-Identifier: Apache-2.0
"""Forecasts from the published rules what the Edge TPU computes of a .tflite file, and what is left to the CPU.

The compiler cuts a graph once: after the operations that it maps, the first that it cannot map, and everything after it, runs on
the CPU. Conversions of the input that it cannot map, such as the CAST and the QUANTIZE at the beginning of Google's MoveNet, run
on the CPU too, and the Edge TPU begins after them. It is closed source, so this is a forecast; its own log decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgeferry.exporters.lint.finding import LintFinding
from edgeferry.exporters.lint.limits import beyond, needs_runtime
from edgeferry.exporters.lint.memory import CHIP_BYTES, Memory, memory
from edgeferry.exporters.lint.runtimes import RuntimeSupport
from edgeferry.exporters.readers.tflite_graph import FileOperation, FileTensor, Graph

INNERMOST: Final = 3
# Seen before the first operation of a compiled file.
CONVERSIONS: Final = ("CAST", "QUANTIZE", "DEQUANTIZE")
# Operations whose second input must be constant at compile time.
WEIGHTED: Final = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
# Depends on its size, by the list; compiler 16.0 left those of a DeepLab v3, and so everything after them, to the CPU.
MAY_NOT_MAP: Final = ("RESIZE_BILINEAR",)
STATIC_BATCH: Final = "convert with batch 1: Input(batch_shape=(1, ...)), or a concrete function of shape (1, ...)"
FIXES: Final = {
    "GELU": "use relu, relu6 or silu in Keras",
    "ELU": "use relu or relu6 in Keras",
    "HARD_SWISH": "use relu6 or silu in Keras",
    "LEAKY_RELU": "use relu or relu6 in Keras",
    # Measured: TensorFlow 2.21 writes Keras' PReLU and LayerNormalization as several operations, their negation in float.
    "NEG": "use relu or relu6 instead of PReLU, BatchNormalization instead of LayerNormalization",
    "ARG_MAX": "end the model in its scores and compute the maximum on the host",
}


@dataclass(frozen=True)
class Forecast:
    """How many operations the Edge TPU computes, how many the CPU, and where parameters are kept.

    ``parameter_bytes`` are those in the file; ``memory`` are those of the mapped operations in the chip's layout, None where a
    recurrent layer is among them: the rule for the layout does not cover these.
    ``unconfirmed`` are operations counted as mapped without an available source.
    """

    mapped: int
    cpu: int
    parameter_bytes: int
    memory: Memory | None
    unconfirmed: tuple[str, ...]


def forecast(graph: Graph, where: RuntimeSupport) -> Forecast:
    """Return what an Edge TPU is expected to compute of a graph."""
    first, cut = _mapped_range(graph, where)
    mapped = graph.operations[first:cut]
    unconfirmed = sorted({operation.name for operation in mapped} & where.unconfirmed)
    left = len(graph.operations) - len(mapped)
    return Forecast(len(mapped), left, graph.parameter_bytes, memory(mapped), tuple(unconfirmed))


def edgetpu_findings(graph: Graph, where: RuntimeSupport) -> Iterator[LintFinding]:
    """Yield what keeps a graph, or parts of it, from the Edge TPU."""
    if graph.is_compiled:
        return
    yield from _dynamic_sizes(graph)
    tensors = [tensor for operation in graph.operations for tensor in operation.tensors]
    if not any(tensor.dtype in {"int8", "uint8"} for tensor in tensors):
        found = "no tensor of the file is int8 or uint8, which are all that the Edge TPU computes in"
        yield LintFinding("model", "", "float-tensors", "error", found, "export tflite-int8")
        return
    yield from _unmapped(graph, where)
    yield from _dense(graph, where)
    kept = forecast(graph, where).memory
    if kept is not None and kept.off_chip:
        found = (
            f"{(kept.on_chip + kept.off_chip) / 2**20:.1f} MiB of parameters, {CHIP_BYTES // 2**20} MiB on the chip: "
            f"{_between(kept.least_off_chip, kept.off_chip)} MiB are sent for every image (forecast)"
        )
        yield LintFinding("model", "", "cache", "possible", found, "use a smaller model, or split it over several Edge TPUs")


def _between(least: int, most: int) -> str:
    low, high = f"{least / 2**20:.1f}", f"{most / 2**20:.1f}"
    return high if low == high else f"{low} to {high}"


def _dynamic_sizes(graph: Graph) -> Iterator[LintFinding]:
    if not any(-1 in tensor.signature for operation in graph.operations for tensor in operation.tensors):
        return
    # A dynamic size does no harm by itself; one that is computed while the model runs does.
    shape = next((operation for operation in graph.operations if operation.name == "SHAPE"), None)
    if shape is not None:
        found = "sizes are computed while the model runs; the compiler needs to know all of them"
        yield LintFinding(shape.name, shape.layer, "dynamic-shape", "error", found, STATIC_BATCH)


def _unmapped(graph: Graph, where: RuntimeSupport) -> Iterator[LintFinding]:
    first, cut = _mapped_range(graph, where)
    for at, operation in enumerate(graph.operations):
        if at < first < len(graph.operations):
            yield _leading(operation, graph, where)
        elif (why := _obstacle(operation, where)) is not None and not _follows_float(graph, at):
            rule, found, fix = why
            named = _computes(graph, at)
            after = len(graph.operations) - at - 1
            found += f"; so are the {after} operations after it (forecast)" if at == cut and after else ""
            yield LintFinding(named.name, named.layer, rule, "warning", found, FIXES.get(named.name, fix))
        elif at < cut and operation.name in MAY_NOT_MAP:
            after = len(graph.operations) - at - 1
            found = f"the Edge TPU may not take it because of its size; then it and the {after} after it run on the CPU"
            yield LintFinding(operation.name, operation.layer, "may-not-map", "possible", found, "see the compiler's log")
        elif at < cut:
            yield from _uncertain(operation, where)
    if forecast(graph, where).mapped == 0:
        found = "nothing would run on the Edge TPU (forecast)"
        yield LintFinding("model", "", "nothing-mapped", "error", found, "fix the first operation below")


def _leading(operation: FileOperation, graph: Graph, where: RuntimeSupport) -> LintFinding:
    """Return what is said of an operation before the first that the Edge TPU computes."""
    reads_float = operation.name == "QUANTIZE" and any(
        each in graph.inputs and each.is_float for each in operation.inputs if each
    )
    if reads_float:
        found, fix = "the input is float: the CPU converts it to integers first", "export with integer input and output"
        return LintFinding(operation.name, operation.layer, "float-tensors", "possible", found, fix)
    rule, found, fix = _obstacle(operation, where) or ("", "", "")
    found += ", before the Edge TPU begins (forecast)"
    return LintFinding(operation.name, operation.layer, rule, "possible", found, FIXES.get(operation.name, fix))


def _uncertain(operation: FileOperation, where: RuntimeSupport) -> Iterator[LintFinding]:
    """Yield what is uncertain about an operation that counts as mapped."""
    if (limit := beyond(operation)) is not None:
        limits = f"its limits: {where.mapped[operation.name]}; not in the available public copies of the list"
        found = f"{limit.found}; it may be left to the CPU ({limits})"
        yield LintFinding(operation.name, operation.layer, "limit", "possible", found, limit.fix)
    if (version := needs_runtime(operation)) is not None:
        found = f"it needs Edge TPU runtime {version} or later (not in the available public copies of the list)"
        yield LintFinding(
            operation.name,
            operation.layer,
            "edgetpu-runtime",
            "possible",
            found,
            f"install runtime {version} or later on the board",
        )


def _is_float(operation: FileOperation) -> bool:
    return any(tensor.is_float for tensor in operation.tensors)


def _follows_float(graph: Graph, at: int) -> bool:
    # For consecutive float operations one finding is enough.
    before = graph.operations[at - 1] if at else None
    if before is None:
        return False
    return _is_float(before) and _is_float(graph.operations[at])


def _computes(graph: Graph, at: int) -> FileOperation:
    """Return the operation that computes in float where the one at ``at`` only leads to it, else that one."""
    first = graph.operations[at]
    following = graph.operations[at : at + 2] if first.name == "DEQUANTIZE" else ()
    return next((each for each in following if each.name != "DEQUANTIZE" and _is_float(each)), first)


def _dense(graph: Graph, where: RuntimeSupport) -> Iterator[LintFinding]:
    first, cut = _mapped_range(graph, where)
    for at, operation in enumerate(graph.operations):
        if not operation.is_per_channel_dense:
            continue
        fix = "export tflite-int8 with export.dense = 'per-tensor' or 'convolution'"
        if first <= at < cut:
            found = "correct on the Edge TPU, but on the board's CPU the uncompiled file outputs a constant"
            yield LintFinding(operation.name, operation.layer, "per-channel-dense", "warning", found, fix)
        else:
            found = "it is left to the board's CPU, whose TF Lite 2.5 outputs a constant with per-channel weights"
            yield LintFinding(operation.name, operation.layer, "per-channel-dense", "error", found, fix)


def _mapped_range(graph: Graph, where: RuntimeSupport) -> tuple[int, int]:
    """Return how many conversions the CPU makes before the Edge TPU begins, and the first operation after them it cannot map."""
    obstacles = [_obstacle(operation, where) is not None for operation in graph.operations]
    count = len(obstacles)
    first = next((at for at, each in enumerate(graph.operations) if not (obstacles[at] and each.name in CONVERSIONS)), count)
    return first, next((at for at in range(first, count) if obstacles[at]), count)


def _obstacle(operation: FileOperation, where: RuntimeSupport) -> tuple[str, str, str] | None:
    """Return the rule that keeps an operation from the Edge TPU, what was found, and what to do; or None."""
    if _is_float(operation):
        return "float-tensors", "computes in float: it is left to the CPU", "use a layer that TF Lite computes in integers"
    if operation.custom is not None or operation.name not in where.mapped:
        found = "the Edge TPU has no such operation: it is left to the CPU"
        return "not-on-edgetpu", found, "use another layer in Keras, or keep it last"
    if any(_is_too_deep(tensor) for tensor in operation.tensors):
        found = f"a tensor is larger than 1 beyond its {INNERMOST} innermost dimensions: it is left to the CPU"
        return "rank", found, "convert with batch 1 and at most 3 other dimensions"
    weights = operation.inputs[1] if operation.name in WEIGHTED and len(operation.inputs) > 1 else None
    if weights is not None and not weights.constant_bytes:
        return "parameters", "its weights are computed while the model runs: it is left to the CPU", "make them constants"
    if operation.name in where.public and (limit := beyond(operation)) is not None:
        found = f"{limit.found} (limits: {where.mapped[operation.name]}): it is left to the CPU"
        return "limit", found, limit.fix
    return None


def _is_too_deep(tensor: FileTensor) -> bool:
    return not tensor.constant_bytes and any(size != 1 for size in tensor.shape[:-INNERMOST])
