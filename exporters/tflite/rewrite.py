# SPDX-License-Identifier: Apache-2.0
"""Rewrites per-channel quantized Dense layers of a .tflite file as convolutions.

TF Lite 2.5 and 2.7 load such a FULLY_CONNECTED, take its scales for 0 and output a constant. They compute a per-channel CONV_2D
correctly, and a 1 x 1 convolution of one pixel is the same sum of the same integers, rounded by the same rule:

    FULLY_CONNECTED(x, w, b)    becomes    RESHAPE(CONV_2D(RESHAPE(x, [batch, 1, 1, in]), w as [out, 1, 1, in], b))
"""

from math import prod
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.readers.tflite import IDENTIFIER
from edgeferry.exporters.readers.tflite_schema import tflite_schema
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The first version of CONV_2D for per-channel int8 (tensorflow/lite/tools/versioning/op_version.cc).
CONV_2D_VERSION: Final = 3
RESHAPE_VERSION: Final = 1


def dense_as_convolution(model: bytes) -> bytes:
    """Return the model with each per-channel FULLY_CONNECTED as RESHAPE, CONV_2D and RESHAPE; the outputs stay the same.

    Raises:
        EdgeError: a Dense layer cannot be rewritten; names it and the reason.
    """
    import flatbuffers

    schema = tflite_schema()
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(model), 0))
    codes = tree.operatorCodes
    changed = False
    for graph in tree.subgraphs:
        rewritten: list[Any] = []
        for operator in graph.operators:
            is_dense = codes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED
            if is_dense and _scales(graph.tensors[operator.inputs[1]]) > 1:
                rewritten += _as_convolution(tree, graph, operator)
                changed = True
            else:
                rewritten.append(operator)
        graph.operators = rewritten
    if not changed:
        return model
    _drop_unused_codes(tree)
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(tree.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _as_convolution(tree: Any, graph: Any, dense: Any) -> "list[Any]":
    schema = tflite_schema()
    image, weights = graph.tensors[dense.inputs[0]], graph.tensors[dense.inputs[1]]
    scores = graph.tensors[dense.outputs[0]]
    name = scores.name.decode()
    _refuse_what_differs(graph, dense, name)
    channels, depth = int(weights.shape[0]), int(weights.shape[-1])
    batch = prod(map(int, image.shape)) // depth
    weights.shape = [channels, 1, 1, depth]
    weights.shapeSignature = None
    pixel = _added(graph, _like(image, [batch, 1, 1, depth], f"{name}/pixel"))
    classes = _added(graph, _like(scores, [batch, 1, 1, channels], f"{name}/convolution"))
    bias = dense.inputs[2] if len(dense.inputs) > 2 and dense.inputs[2] >= 0 else _zero_bias(tree, graph, dense, name)
    convolution = schema.OperatorT()
    convolution.opcodeIndex = _code(tree, schema.BuiltinOperator.CONV_2D, CONV_2D_VERSION)
    convolution.inputs, convolution.outputs = [pixel, dense.inputs[1], bias], [classes]
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = dense.builtinOptions.fusedActivationFunction
    convolution.builtinOptionsType, convolution.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    return [_reshape(tree, graph, dense.inputs[0], pixel), convolution, _reshape(tree, graph, classes, dense.outputs[0])]


def _refuse_what_differs(graph: Any, dense: Any, name: str) -> None:
    schema = tflite_schema()
    image, weights = graph.tensors[dense.inputs[0]], graph.tensors[dense.inputs[1]]
    shuffled = dense.builtinOptions.weightsFormat != schema.FullyConnectedOptionsWeightsFormat.DEFAULT
    uses = [operator for operator in graph.operators if operator is not dense and dense.inputs[1] in list(operator.inputs)]
    if weights.type != schema.TensorType.INT8 or image.type != schema.TensorType.INT8:
        found = "its input or its weights are not int8"
    elif shuffled or len(weights.shape) != 2:
        found = "its weights are in a layout for one kernel alone"
    elif uses:
        found = "another operation reads its weights too"
    elif image.shapeSignature is not None and -1 in list(image.shapeSignature):
        found = "a size of its input is dynamic"
    else:
        return
    raise EdgeError(
        "EF-tflite-dense-rewrite",
        f"the Dense layer {name} cannot be written as a convolution: {found}; set export.dense = 'per-tensor'",
    )


def _reshape(tree: Any, graph: Any, image: int, output: int) -> Any:
    import numpy as np

    schema = tflite_schema()
    shape = np.asarray(graph.tensors[output].shape, np.int32)
    wanted = schema.TensorT()
    wanted.name = graph.tensors[output].name + b"/shape"
    wanted.shape, wanted.type, wanted.buffer = [shape.size], schema.TensorType.INT32, _buffer(tree, shape)
    operator, options = schema.OperatorT(), schema.ReshapeOptionsT()
    operator.opcodeIndex = _code(tree, schema.BuiltinOperator.RESHAPE, RESHAPE_VERSION)
    operator.inputs, operator.outputs = [image, _added(graph, wanted)], [output]
    options.newShape = shape.tolist()
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.ReshapeOptions, options
    return operator


def _zero_bias(tree: Any, graph: Any, dense: Any, name: str) -> int:
    # A convolution must have a bias; FULLY_CONNECTED need not.
    import numpy as np

    schema = tflite_schema()
    image, weights = graph.tensors[dense.inputs[0]], graph.tensors[dense.inputs[1]]
    bias, quantization = schema.TensorT(), schema.QuantizationParametersT()
    scales = np.float32(image.quantization.scale[0]) * np.asarray(weights.quantization.scale, np.float32)
    quantization.scale, quantization.zeroPoint = scales.tolist(), [0] * scales.size
    quantization.quantizedDimension = 0
    bias.name, bias.shape, bias.type = f"{name}/bias".encode(), [scales.size], schema.TensorType.INT32
    bias.buffer, bias.quantization = _buffer(tree, np.zeros(scales.size, np.int32)), quantization
    return _added(graph, bias)


def _like(tensor: Any, shape: list[int], name: str) -> Any:
    """Return a tensor of the same type and scale without data."""
    schema = tflite_schema()
    copy = schema.TensorT()
    copy.name, copy.shape, copy.type = name.encode(), shape, tensor.type
    copy.buffer, copy.quantization = 0, tensor.quantization
    return copy


def _added(graph: Any, tensor: Any) -> int:
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _buffer(tree: Any, values: "NDArray[np.int32]") -> int:
    import numpy as np

    schema = tflite_schema()
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    tree.buffers.append(buffer)
    return len(tree.buffers) - 1


def _code(tree: Any, number: int, version: int) -> int:
    """Return the index of an operation's code, added where it is missing."""
    schema = tflite_schema()
    for at, code in enumerate(tree.operatorCodes):
        if (code.builtinCode, code.version) == (number, version):
            return at
    code = schema.OperatorCodeT()
    # Runtimes before 2.4 read the older field; both numbers are below 128.
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = version
    tree.operatorCodes.append(code)
    return len(tree.operatorCodes) - 1


def _drop_unused_codes(tree: Any) -> None:
    operators = [operator for graph in tree.subgraphs for operator in graph.operators]
    kept = sorted({operator.opcodeIndex for operator in operators})
    tree.operatorCodes = [tree.operatorCodes[at] for at in kept]
    for operator in operators:
        operator.opcodeIndex = kept.index(operator.opcodeIndex)


def _scales(tensor: Any) -> int:
    scale = tensor.quantization.scale if tensor.quantization is not None else None
    return 0 if scale is None else len(scale)
