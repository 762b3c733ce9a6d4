# SPDX-License-Identifier: Apache-2.0
"""TF Lite files: float32, float16 weights, dynamic range, and full integer."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.format import WITH_AUTHOR, Format, Written
from edgeferry.exporters.graph.groups import without_groups
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.lint.lint import lint
from edgeferry.exporters.options import NoOptions, option
from edgeferry.exporters.tflite.metadata import with_metadata
from edgeferry.exporters.tflite.rewrite import dense_as_convolution
from edgeferry.models.artifact import Tensor, Tolerance
from edgeferry.models.preprocessing import normalise
from edgeferry.models.reference import BATCH
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

FILE: Final = "model.tflite"
TOOLS: Final = ("tensorflow-cpu", "tensorflow", "keras", "flatbuffers")
PER_TENSOR_FLAG: Final = "_experimental_disable_per_channel_quantization_for_dense_layers"
# What Coral boards have.
BOARDS: Final = "tflite-2.5"
# Operations that read variables: the mark of a file written without its weights, which loads and answers NaN.
VARIABLE_OPERATIONS: Final = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")


def float32(source: Source, folder: "Path") -> Written:
    """Write the model as it is."""
    return _write(source, folder, _converter(source).convert(), {})


def float16(source: Source, folder: "Path") -> Written:
    """Write weights in half precision; a CPU computes in float32, a GPU may compute in half."""
    import tensorflow as tf

    converter = _converter(source)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return _write(source, folder, converter.convert(), {})


def dynamic(source: Source, folder: "Path") -> Written:
    """Write weights as int8, activations quantized as they come: small, but slow where depthwise layers rule."""
    import tensorflow as tf

    converter = _converter(source)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return _write(source, folder, converter.convert(), {})


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


def int8(source: Source, folder: "Path", options: Int8Options = Int8Options()) -> Written:
    """Write the model in integers throughout, ranges found on the calibration images.

    Raises:
        EdgeError: there are no calibration images, or an operation stayed in float.
    """
    import tensorflow as tf

    pixels = source.calibration
    integer = tf.dtypes.as_dtype(options.input_output)
    ungrouped, groups = without_groups(source)
    converter = _converter(ungrouped)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _one_by_one(pixels, source)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = integer
    if options.dense == "per-tensor":
        if not hasattr(converter, PER_TENSOR_FLAG):
            raise EdgeError(
                f"TensorFlow {tf.__version__} has no {PER_TENSOR_FLAG}; set dense = 'convolution', or use TensorFlow 2.21."
            )
        setattr(converter, PER_TENSOR_FLAG, True)
    told = {"calibration_images": len(pixels), "input_output": options.input_output, "dense": options.dense}
    converted = converter.convert()
    written = _write(source, folder, dense_as_convolution(converted) if options.dense == "convolution" else converted, told)
    _check_integer(folder / FILE, per_channel_dense=options.dense == "per-channel")
    notes = (f"{groups} convolutions in groups written as one a group, or depthwise",) if groups else ()
    return replace(written, notes=(*notes, *_wrong_on_boards(folder / FILE)))


def _wrong_on_boards(path: "Path") -> tuple[str, ...]:
    report = lint(path, BOARDS)
    return tuple(f"for {report.runtime.told}: {each.operation} {each.layer}: {each.found}; {each.fix}" for each in report.errors)


def _converter(source: Source) -> Any:
    import tensorflow as tf

    # No trackable beside it: with a Keras 3 model there the file is written without its weights.
    return tf.lite.TFLiteConverter.from_concrete_functions([source.function(1)])


def _one_by_one(pixels: "NDArray[np.uint8]", source: Source) -> "Iterator[list[NDArray[np.float32]]]":
    for at in range(0, len(pixels), BATCH):
        for image in normalise(pixels[at : at + BATCH], source.spec.preprocessing):
            yield [image[None]]


def _write(source: Source, folder: "Path", converted: bytes, options: dict[str, Any]) -> Written:
    model = with_metadata(converted, source.spec)
    write_whole(folder / FILE, model)
    inputs, outputs = read_tensors(model)
    variables = sorted({name for name in _operations(model) if name in VARIABLE_OPERATIONS})
    if variables:
        raise EdgeError(f"the converter left {', '.join(variables)} in the file: it holds no weights and would answer NaN")
    return Written(FILE, inputs, outputs, options=options)


def read_tensors(model: bytes) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the inputs and outputs a .tflite file declares."""
    graph = _model(model).Subgraphs(0)
    return (
        tuple(_tensor(graph.Tensors(graph.Inputs(at))) for at in range(graph.InputsLength())),
        tuple(_tensor(graph.Tensors(graph.Outputs(at))) for at in range(graph.OutputsLength())),
    )


def _tensor(tensor: Any) -> Tensor:
    quantization = tensor.Quantization()
    quantized = quantization is not None and quantization.ScaleLength() == 1
    return Tensor(
        name=tensor.Name().decode(),
        shape=tuple(int(tensor.Shape(at)) for at in range(tensor.ShapeLength())),
        dtype=_type_name(tensor.Type()),
        scale=float(quantization.Scale(0)) if quantized else None,
        zero_point=int(quantization.ZeroPoint(0)) if quantized else None,
    )


def _check_integer(path: "Path", *, per_channel_dense: bool) -> None:
    graph = _model(path.read_bytes()).Subgraphs(0)
    floats = [
        tensor
        for tensor in map(graph.Tensors, range(graph.TensorsLength()))
        if _type_name(tensor.Type()) in {"float32", "float16"}
    ]
    if floats:
        raise EdgeError(
            f"{len(floats)} tensors stayed in float ({floats[0].Name().decode()} is one): "
            "an operation has no integer form in TF Lite"
        )
    if not per_channel_dense:
        for tensor in _dense_weights(path.read_bytes()):
            if tensor.Quantization().ScaleLength() != 1:
                raise EdgeError(
                    f"the Dense weights {tensor.Name().decode()} came out per channel, which runtimes before 2.10 answer wrongly"
                )


def _dense_weights(model: bytes) -> list[Any]:
    root = _model(model)
    graph = root.Subgraphs(0)
    operators = [graph.Operators(at) for at in range(graph.OperatorsLength())]
    dense = [each for each in operators if _operation_name(root.OperatorCodes(each.OpcodeIndex())) == "FULLY_CONNECTED"]
    return [graph.Tensors(each.Inputs(1)) for each in dense]


def _operations(model: bytes) -> list[str]:
    root = _model(model)
    return [_operation_name(root.OperatorCodes(at)) for at in range(root.OperatorCodesLength())]


def _operation_name(code: Any) -> str:
    from tensorflow.lite.python import schema_py_generated as schema

    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    return next(str(name) for name, value in vars(schema.BuiltinOperator).items() if value == number)


def _type_name(number: int) -> str:
    from tensorflow.lite.python import schema_py_generated as schema

    return next(str(name) for name, value in vars(schema.TensorType).items() if value == number).lower()


def _model(model: bytes) -> Any:
    from tensorflow.lite.python import schema_py_generated as schema

    return schema.Model.GetRootAsModel(bytearray(model), 0)


def _format(  # noqa: PLR0913 - what differs between the four
    name: str, summary: str, write: Any, tolerance: Tolerance, *, calibrated: bool = False, options: type = NoOptions
) -> Format:
    return Format(
        f"tflite-{name}", "tflite", summary, tolerance, write, TOOLS, calibrated=calibrated, options=options, uses=WITH_AUTHOR
    )


FORMATS = (
    _format(
        "float32",
        "TF Lite, float32",
        float32,
        Tolerance(1.0, 1e-3, 1e-4, "the same float32 arithmetic in another order; kernels differ by some 1e-6"),
    ),
    _format(
        "float16",
        "TF Lite, float16 weights",
        float16,
        Tolerance(
            0.995, 0.03, 0.005, "weights rounded to 11 bits; EfficientNet-Lite0 agrees on 219 of 220 images, moves by 0.007"
        ),
    ),
    _format(
        "dynamic",
        "TF Lite, int8 weights",
        dynamic,
        Tolerance(
            0.97,
            0.35,
            0.06,
            "weights in 8 bits, activations in 8 bits as they come; EfficientNet-Lite0 agrees on 98.7 % of 1000 images, "
            "one moves by 0.16, all by 0.018 in the mean",
        ),
    ),
    _format(
        "int8",
        "TF Lite, integers throughout",
        int8,
        Tolerance(
            0.97,
            0.40,
            0.08,
            "weights and activations in 8 bits; EfficientNet-Lite0 agrees on 98.2 % of 1000 images (XNNPACK's kernels on 96.4 % "
            "of 220), one moves by 0.23, all by 0.03 in the mean; channels swapped: 82.7 %, 0.93, 0.17",
        ),
        calibrated=True,
        options=Int8Options,
    ),
)
