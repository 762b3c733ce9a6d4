# SPDX-License-Identifier: Apache-2.0
"""TF Lite files: float32, float16 weights, dynamic range, and full integer."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.format import WITH_AUTHOR, Format, Written
from edgeferry.exporters.graph.groups import notes_on, without_groups
from edgeferry.exporters.graph.pixel_range import black_and_white
from edgeferry.exporters.graph.rewritten import TFLITE, TFLITE_INTEGERS, rewritten
from edgeferry.exporters.graph.source import Source, without_loops
from edgeferry.exporters.lint.lint import lint
from edgeferry.exporters.options import NoOptions, option
from edgeferry.exporters.readers.tflite import declared, read_graph
from edgeferry.exporters.readers.tflite_graph import Graph
from edgeferry.exporters.tflite.calibration import calibrated
from edgeferry.exporters.tflite.conversion import converted, refusing
from edgeferry.exporters.tflite.floats import kept_in_float
from edgeferry.exporters.tflite.metadata import with_metadata
from edgeferry.exporters.tflite.rewrite import dense_as_convolution
from edgeferry.models.artifact import RANGES, Tolerance
from edgeferry.models.golden.scores import BATCH
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_json, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

FILE: Final = "model.tflite"
TOOLS: Final = ("tensorflow-cpu", "tensorflow", "keras", "flatbuffers")
# The runtime that Coral boards have.
BOARDS: Final = "tflite-2.5"
# Operations that only convert between integers and floats.
CONVERSIONS: Final = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"})
# Operations that read variables: the mark of a file written without its weights, which loads and outputs NaN.
VARIABLE_OPERATIONS: Final = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"})


def float32(source: Source, folder: "Path") -> Written:
    """Write the model in float32."""
    return _write(source, folder, converted(_converter(rewritten(source, *TFLITE)), source), {})


def float16(source: Source, folder: "Path") -> Written:
    """Write weights in float16; a CPU computes in float32, a GPU may compute in float16."""
    import tensorflow as tf

    converter = _converter(rewritten(source, *TFLITE))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return _write(source, folder, converted(converter, source), {})


def dynamic(source: Source, folder: "Path") -> Written:
    """Write int8 weights, with activations quantized at run time: small, but slow where most layers are depthwise."""
    import tensorflow as tf

    converter = _converter(rewritten(source, *TFLITE))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return _write(source, folder, converted(converter, source), {})


RANGES_SCHEMA: Final = 1


@dataclass(frozen=True)
class Int8Options:
    """The options of ``tflite-int8``."""

    dense: str = option(
        "how Dense weights are held: one scale per layer; one per class, finer, but TF Lite runtimes before 2.10 load such a "
        "file and return a constant; or one per class as a 1 x 1 convolution between two reshapes, the same integers on every "
        "runtime since 2.5",
        default="per-tensor",
        choices=("per-tensor", "per-channel", "convolution"),
    )
    input_output: str = option("the integers the file takes and returns", default="uint8", choices=("uint8", "int8"))
    keep_float: tuple[str, ...] = option(
        "Keras layers that stay in float, with a conversion before and after; the file is then no full-integer one, and the Edge "
        "TPU maps only what comes before the first of them. `edgeferry fix` finds them",
        default=(),
    )


def int8(source: Source, folder: "Path", options: Int8Options = Int8Options()) -> Written:
    """Write a full-integer model; ranges come from the calibration images.

    Raises:
        EdgeError: there are no calibration images, or an operation stayed in float.
    """
    import tensorflow as tf

    pixels = source.calibration
    integer = tf.dtypes.as_dtype(options.input_output)
    ungrouped, groups = without_groups(rewritten(without_loops(source), *TFLITE_INTEGERS))
    converter = _converter(ungrouped)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image] for image in islice(_one_by_one(pixels, source), 1))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = integer
    recorded = {"calibration_images": len(pixels), **asdict(options)}
    images, ends = _one_by_one(pixels, source), list(_one_by_one(black_and_white(pixels.shape[1:]), source))
    per_channel = options.dense != "per-tensor"
    keep = partial(kept_in_float, source, options.keep_float)
    made = refusing(lambda: calibrated(converter, images, ends, keep, dense_per_channel=per_channel), source)
    write_json(folder / RANGES, {"schema": RANGES_SCHEMA, "ranges": made.ranges})
    written = _write(source, folder, dense_as_convolution(made.file) if options.dense == "convolution" else made.file, recorded)
    graph = read_graph(folder / FILE)
    _refuse_float(graph, made.floats)
    if options.dense != "per-channel":
        _refuse_per_channel_dense(graph)
    return replace(written, notes=(*notes_on(groups), *_wrong_on_boards(folder / FILE)))


def _wrong_on_boards(path: "Path") -> tuple[str, ...]:
    report = lint(path, BOARDS)
    return tuple(f"for {report.runtime.title}: {each.operation} {each.layer}: {each.found}; {each.fix}" for each in report.errors)


def _converter(source: Source) -> Any:
    import tensorflow as tf

    # Without a trackable: with a Keras 3 model as that argument the file is written without its weights.
    return tf.lite.TFLiteConverter.from_concrete_functions([source.function(1)])


def _one_by_one(pixels: "NDArray[np.uint8]", source: Source) -> "Iterator[NDArray[np.float32]]":
    for at in range(0, len(pixels), BATCH):
        for image in normalise(pixels[at : at + BATCH], source.spec.preprocessing):
            yield image[None]


def _write(source: Source, folder: "Path", converted: bytes, options: dict[str, Any]) -> Written:
    write_whole(folder / FILE, with_metadata(converted, source.spec))
    graph = read_graph(folder / FILE)
    variables = sorted({operation.name for operation in graph.operations} & VARIABLE_OPERATIONS)
    if variables:
        raise EdgeError(
            "EF-tflite-variables",
            f"the converter left {', '.join(variables)} in the file: it has no weights and would output NaN",
        )
    return Written(FILE, tuple(map(declared, graph.inputs)), tuple(map(declared, graph.outputs)), options=options)


def _refuse_float(graph: Graph, kept: frozenset[str]) -> None:
    """Refuse a graph with a float tensor that is not one of those that were to be kept in float.

    Raises:
        EdgeError: names the operations that have no integer implementation, and their layers.
    """
    left = [operation for operation in graph.operations if any(tensor.is_float for tensor in operation.tensors)]
    computing = [operation for operation in left if operation.name not in CONVERSIONS]
    if kept and all(each.outputs[0].name in kept for each in computing):
        return
    if left:
        # What computes with its result may stay in float for its sake alone.
        first = (computing or left)[0]
        raise EdgeError(
            "EF-tflite-float",
            f"{first.name} of the layer {first.layer} stays in float: TF Lite has no integer implementation of it as it is used "
            "there. Use another layer, or leave tflite-int8 and what is made from it out of export.formats.",
        )


def _refuse_per_channel_dense(graph: Graph) -> None:
    """Refuse a graph whose Dense weights have more than one scale.

    Raises:
        EdgeError: names them.
    """
    for operation in graph.operations:
        if operation.is_per_channel_dense:
            raise EdgeError(
                "EF-tflite-dense-per-channel",
                f"the Dense layer {operation.layer} is quantized per-channel, which runtimes before 2.10 compute wrongly",
            )


def _format(  # noqa: PLR0913 - what differs between the four
    name: str,
    summary: str,
    write: Any,
    tolerance: Tolerance,
    precision: Any,
    *,
    calibrated: bool = False,
    options: type = NoOptions,
) -> Format:
    return Format(
        f"tflite-{name}",
        "tflite",
        summary,
        tolerance,
        write,
        TOOLS,
        calibrated=calibrated,
        options=options,
        uses=WITH_AUTHOR,
        precision=precision,
    )


def _int8_precision(options: Int8Options) -> str:
    return "int8" if options.dense == "per-tensor" else "int8-dense-per-channel"


FORMATS = (
    _format(
        "float32",
        "TF Lite, float32",
        float32,
        Tolerance(1.0, 1e-3, 1e-4, "the same float32 arithmetic in another order; kernels differ by about 1e-6"),
        "float32",
    ),
    _format(
        "float16",
        "TF Lite, float16 weights",
        float16,
        Tolerance(
            0.995, 0.03, 0.005, "weights rounded to 11 bits; EfficientNet-Lite0 agrees on 219 of 220 images, max difference 0.007"
        ),
        "float16-weights",
    ),
    _format(
        "dynamic",
        "TF Lite, int8 weights",
        dynamic,
        Tolerance(
            0.97,
            0.35,
            0.06,
            "8-bit weights, activations quantized at run time; EfficientNet-Lite0 agrees on 98.7 % of 1000 images, "
            "max difference 0.16, mean 0.018",
        ),
        "dynamic",
    ),
    _format(
        "int8",
        "TF Lite, full integer",
        int8,
        Tolerance(
            0.97,
            0.40,
            0.08,
            "8-bit weights and activations; EfficientNet-Lite0 agrees on 98.2 % of 1000 images (XNNPACK's kernels on 96.4 % "
            "of 220), max difference 0.23, mean 0.03; with channels swapped: 82.7 %, 0.93, 0.17",
        ),
        _int8_precision,
        calibrated=True,
        options=Int8Options,
    ),
)
