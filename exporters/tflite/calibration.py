# SPDX-License-Identifier: Apache-2.0
"""The ranges that a full-integer file is quantized in, observed tensor by tensor.

TensorFlow's own calibration observes memory, not tensors: where a result is written over an operand in place, the operand's range
becomes that of the result, and 8 bits are spent on values that it never takes (exp(x) - 1, before x is added, in an ELU). Here
every tensor keeps its memory while it is observed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.graph.pixel_range import pixel_range, scaled_inputs
from edgeferry.exporters.graph.softmax_range import unmasked
from edgeferry.exporters.readers.tflite import IDENTIFIER
from edgeferry.exporters.readers.tflite_schema import tflite_schema
from edgeferry.models.system.cores import cores_allowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Ranges = dict[int, tuple[float, float]]

# Operations that scale, shift or move the values of one operand, where the others are constants.
SCALING: Final = ("MUL", "ADD", "SUB", "PAD", "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS")


@dataclass(frozen=True)
class Quantized:
    """A file in integers, the range of each tensor by its name, and the names of the tensors that were kept in float."""

    file: bytes
    ranges: dict[str, tuple[float, float]]
    floats: frozenset[str]


def calibrated(
    converter: Any,
    images: "Iterable[NDArray[np.float32]]",
    ends: "Sequence[NDArray[np.float32]]",
    keep_float: Callable[[list[str]], frozenset[str]],
    *,
    dense_per_channel: bool,
) -> Quantized:
    """Return the full-integer file of a converter's model; ``keep_float`` chooses of its tensors those that stay in float.

    ``images`` are float32, [1, height, width, channels]; ``ends`` are such images, a black and a white one.
    The converter is set to write full integers, with any representative image: ranges are observed here.
    """
    from tensorflow.lite.python.convert import mlir_quantize

    converter._experimental_calibrate_only = True  # noqa: SLF001 - the only way to what lies between conversion and quantization
    in_float = bytes(converter.convert())
    tensors = [each.name.decode() for each in _tree(in_float).subgraphs[0].tensors]
    floats = keep_float(tensors)
    of_pixels = {number: pixel_range(*found) for number, found in observed(in_float, ends, _scaled(in_float)).items()}
    ranges = observed(in_float, images, _varying(in_float)) | of_pixels
    file: bytes = mlir_quantize(
        with_ranges(in_float, ranges),
        input_data_type=converter.inference_input_type,
        output_data_type=converter.inference_output_type,
        disable_per_channel_for_dense_layers=not dense_per_channel,
        denylisted_nodes=sorted(floats) or None,
    )
    return Quantized(file, {tensors[number]: found for number, found in ranges.items()}, floats)


def observed(model: bytes, images: "Iterable[NDArray[np.float32]]", tensors: "Iterable[int]") -> "Ranges":
    """Return the least and greatest value over all images of each of the tensors, by its number."""
    import numpy as np
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(
        model_content=model,
        num_threads=cores_allowed(),
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    found: Ranges = {}
    softmaxed = _softmaxed(model)
    for image in images:
        interpreter.set_tensor(place, image)
        interpreter.invoke()
        for number in tensors:
            values = interpreter.tensor(number)()
            if number in softmaxed:
                values = unmasked(values, values.max(axis=-1, keepdims=True), np.where)
            low, high = found.get(number, (np.inf, -np.inf))
            found[number] = (min(low, float(values.min())), max(high, float(values.max())))
            del values
    return found


def _varying(model: bytes) -> list[int]:
    """Return the numbers of the float tensors that operations compute, and of the input."""
    graph = _tree(model).subgraphs[0]
    numbers = {int(number) for operator in graph.operators for number in operator.outputs} | set(_inputs(model))
    return sorted(each for each in numbers if graph.tensors[each].type == tflite_schema().TensorType.FLOAT32)


def _softmaxed(model: bytes) -> set[int]:
    """Return the numbers of the tensors that only a softmax reads."""
    tree, softmax = _tree(model), tflite_schema().BuiltinOperator.SOFTMAX
    graph = tree.subgraphs[0]
    read: dict[bool, set[int]] = {True: set(), False: set(map(int, graph.outputs))}
    for each in graph.operators:
        read[tree.operatorCodes[each.opcodeIndex].builtinCode == softmax] |= set(map(int, each.inputs))
    return read[True] - read[False]


def _scaled(model: bytes) -> list[int]:
    """Return the numbers of the float tensors that are the input, or the input scaled and shifted."""
    schema = tflite_schema()
    tree = _tree(model)
    graph = tree.subgraphs[0]
    constants = frozenset(number for number, each in enumerate(graph.tensors) if tree.buffers[each.buffer].data is not None)
    codes = {getattr(schema.BuiltinOperator, name) for name in SCALING}
    operations = [
        (int(each.outputs[0]), [int(number) for number in each.inputs])
        for each in graph.operators
        if tree.operatorCodes[each.opcodeIndex].builtinCode in codes
    ]
    return sorted(scaled_inputs(_inputs(model), operations, constants) & set(_varying(model)))


def _inputs(model: bytes) -> list[int]:
    return [int(number) for number in _tree(model).subgraphs[0].inputs]


def _tree(model: bytes) -> Any:
    """Return a file's tables as objects that can be changed."""
    schema = tflite_schema()
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(model), 0))


def with_ranges(model: bytes, ranges: "Ranges") -> bytes:
    """Return a float file with the ranges that its tensors are to be quantized in."""
    import flatbuffers

    schema = tflite_schema()
    tree = _tree(model)
    for number, (low, high) in ranges.items():
        tensor = tree.subgraphs[0].tensors[number]
        tensor.quantization = tensor.quantization or schema.QuantizationParametersT()
        tensor.quantization.min, tensor.quantization.max = [low], [high]
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(tree.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())
