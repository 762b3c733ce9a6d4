# SPDX-License-Identifier: Apache-2.0
"""ONNX in 8-bit integers between float32 input and output, with pairs of QuantizeLinear and DequantizeLinear.

Which integers, by measurement on ONNX Runtime's CPU kernels: activations in uint8, since on x86 it turns int8 ones into uint8;
weights in int8, since kernels for uint8 weights took longer than float32. An x86 processor without VNNI adds the products of two
neighbours in 16 bits, which 8-bit weights overflow: EfficientNet-Lite0 kept 85 % of its answers instead of 97 %. With weights of
7 bits the sum always fits. The kernel for depthwise convolutions adds in 32 bits, so their weights have all 8.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.format import WITH_AUTHOR, Format, Written
from edgeferry.exporters.graph.pixel_range import black_and_white, pixel_range, scaled_inputs
from edgeferry.exporters.graph.source import INPUT, Source
from edgeferry.exporters.onnx.conversion import TOOLS, OnnxOptions, converted, written
from edgeferry.exporters.options import option
from edgeferry.models.artifact import Tolerance
from edgeferry.models.golden.scores import batch_of
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

# What ONNX Runtime has integer kernels for; the rest stays in float.
COMPUTING: Final = ("Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "GlobalAveragePool")
# What only moves, chooses or bounds integers.
PASSING: Final = (
    *("AveragePool", "Clip", "Flatten", "MaxPool", "Pad", "Relu", "Reshape", "Resize", "Slice", "Squeeze", "Transpose"),
    "Unsqueeze",
)
# Their results stay in float where no integers are computed with them: kernels return both, and the scores lose nothing.
FLOAT_RESULTS: Final = ("Gemm", "MatMul")
# What scales, shifts or moves the values of one operand, where the others are constants.
SCALING: Final = ("Add", "Div", "Mul", "Reshape", "Sub", "Transpose")
FINER: Final = ("weights of 8 bits: on x86 processors without VNNI, ONNX Runtime's sums overflow",)
LINEAR: Final = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class OnnxInt8Options(OnnxOptions):
    """The options of ``onnx-int8``."""

    weight_bits: int = option(
        "bits of weights, 7 or 8; depthwise ones have 8 either way. 8 is finer, for ARM and for x86 processors with VNNI: on "
        "other x86 processors the sums of ONNX Runtime's kernels overflow, and its answers are wrong",
        default=7,
        least=7,
        most=8,
    )


def write(source: Source, folder: Path, options: OnnxInt8Options = OnnxInt8Options()) -> Written:
    """Write the model with weights and results in integers; ranges come from the calibration images.

    Raises:
        EdgeError: there are no calibration images, or nothing could be quantized.
    """
    pixels = source.calibration
    with TemporaryDirectory() as scratch:
        model = _quantized(_simplified(converted(source, options.opset), Path(scratch)), source, pixels, options)
    linear = [node for node in model.graph.node if node.op_type in LINEAR]
    makers = {name: node for node in model.graph.node for name in node.output}
    left = [node for node in linear if not _is_quantized(node, makers)]
    if len(left) == len(linear):
        raise EdgeError(
            "EF-onnx-not-quantized",
            f"{source.spec.path}: ONNX Runtime quantized none of the model's {len(linear)} layers; leave onnx-int8 out of "
            "export.formats.",
        )
    notes = (*(f"left in float: {node.op_type} {node.name}" for node in left), *(FINER if options.weight_bits > 7 else ()))
    return written(model, source, folder, asdict(options) | {"calibration_images": len(pixels)}, notes)


def _simplified(model: "onnx.ModelProto", scratch: Path) -> "onnx.ModelProto":
    """Return the model with constants folded, and biases and batch normalizations merged into the layers before them."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Of a model in memory it loses the weights.
    onnx.save(model, scratch / "converted.onnx")
    quant_pre_process(scratch / "converted.onnx", scratch / "simplified.onnx", skip_symbolic_shape=True)
    return onnx.load(scratch / "simplified.onnx")


def _quantized(
    model: "onnx.ModelProto", source: Source, pixels: "NDArray[np.uint8]", options: OnnxInt8Options
) -> "onnx.ModelProto":
    import numpy as np
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    whole = {"axis": 0, "quant_type": QuantType.QInt8, "symmetric": True, "reduce_range": False}
    overrides: dict[str, Any] = {name: [whole] for name in _depthwise_weights(model)}
    for name, (low, high) in _pixel_ranges(model, source).items():
        overrides[name] = [{"rmin": np.float32(low), "rmax": np.float32(high)}]
    with TemporaryDirectory() as scratch:
        quantize_static(
            model,
            Path(scratch) / "quantized.onnx",
            _reader(pixels, source),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*COMPUTING, *PASSING],
            nodes_to_exclude=_before_softmax(model),
            per_channel=True,
            reduce_range=options.weight_bits == 7,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "MatMulConstBOnly": True,
                "OpTypesToExcludeOutputQuantization": list(FLOAT_RESULTS),
                "TensorQuantOverrides": overrides,
            },
        )
        return onnx.load(Path(scratch) / "quantized.onnx")


def _reader(pixels: "NDArray[np.uint8]", source: Source) -> Any:
    """Return what hands the calibration images to ONNX Runtime, in batches."""
    from onnxruntime.quantization import CalibrationDataReader

    size = batch_of(pixels)

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[NDArray[np.uint8]] = (pixels[at : at + size] for at in range(0, len(pixels), size))

        def get_next(self) -> dict[str, "NDArray[np.float32]"] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: normalise(batch, source.spec.preprocessing)}

    return Images()


def _pixel_ranges(model: "onnx.ModelProto", source: Source) -> dict[str, tuple[float, float]]:
    """Return the ranges of the input, and of what scales and shifts it, over all pixels instead of those seen in calibration."""
    import onnx
    from onnxruntime import InferenceSession

    constants = frozenset(each.name for each in model.graph.initializer)
    scaling = [(node.output[0], list(node.input)) for node in model.graph.node if node.op_type in SCALING]
    names = sorted(scaled_inputs([INPUT], scaling, constants) - {INPUT, *(each.name for each in model.graph.output)})
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    ends = normalise(black_and_white(source.shape), source.spec.preprocessing)
    # A session that is asked for no names returns all of them.
    values = InferenceSession(shown.SerializeToString()).run(names, {INPUT: ends}) if names else []
    found = {INPUT: ends} | dict(zip(names, values, strict=True))
    return {name: pixel_range(float(each.min()), float(each.max())) for name, each in found.items()}


def _before_softmax(model: "onnx.ModelProto") -> list[str]:
    """Return the names of the additions and products that only a softmax reads: a mask puts values there that no 8 bits reach."""
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    return [
        each.name for each in model.graph.node if each.op_type in ("Add", "Mul") and readers.get(each.output[0]) == {"Softmax"}
    ]


def _depthwise_weights(model: "onnx.ModelProto") -> Iterator[str]:
    """Yield the names of weights of convolutions with one input channel for each output channel."""
    shapes = {each.name: list(each.dims) for each in model.graph.initializer}
    for node in model.graph.node:
        groups = next((each.i for each in node.attribute if each.name == "group"), 1)
        if node.op_type == "Conv" and 1 < groups == shapes.get(node.input[1], [0])[0] and shapes[node.input[1]][1] == 1:
            yield node.input[1]


def _is_quantized(node: "onnx.NodeProto", makers: "Mapping[str, onnx.NodeProto]") -> bool:
    """Return whether a layer's weights are integers in the file."""
    weights = makers.get(node.input[1])
    return weights is not None and weights.op_type == "DequantizeLinear" and weights.input[0] not in makers


FORMATS = (
    Format(
        "onnx-int8",
        "onnx",
        "ONNX, 8-bit integers between float32 input and output, any batch size",
        Tolerance(0.97, 0.40, 0.08, "7-bit weights, 8-bit activations; EfficientNet-Lite0 agrees on 97 of 100 images"),
        write,
        (*TOOLS, "onnxruntime", "onnxruntime-gpu"),
        calibrated=True,
        options=OnnxInt8Options,
        uses=WITH_AUTHOR,
        precision=lambda options: f"onnx-{options.weight_bits}-bit",
    ),
)
