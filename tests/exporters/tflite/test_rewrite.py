# SPDX-License-Identifier: Apache-2.0
"""Dense layers written as convolutions: the same integers as before, on every runtime of this machine."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import flatbuffers
import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema

from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.lint.lint import lint
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.tflite import formats as tflite
from edgeferry.exporters.tflite.rewrite import dense_as_convolution
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.boards.tflite_runtime import TARGETS

# The fraction of the sums that a runtime's kernels round differently from LiteRT's, by one; 0 for the others.
ROUNDED: Final = {"tflite-2.7": 0.001}
RUN: Final = """\
import sys
import numpy as np
try:
    from tflite_runtime import interpreter as runtime
except ImportError:
    from ai_edge_litert import interpreter as runtime
kinds = getattr(runtime, "OpResolverType", None)
options = {} if kinds is None else {"experimental_op_resolver_type": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
interpreter = runtime.Interpreter(sys.argv[1], **options)
interpreter.allocate_tensors()
takes, gives = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
outputs = []
for image in np.load(sys.argv[2]):
    interpreter.set_tensor(takes, image[None])
    interpreter.invoke()
    outputs.append(interpreter.get_tensor(gives)[0].copy())
np.save(sys.argv[3], np.stack(outputs))
"""


@pytest.fixture(scope="module")
def per_channel(digits_source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the default classifier in integers, its Dense layer per-channel."""
    folder = tmp_path_factory.mktemp("per-channel")
    tflite.int8(digits_source, folder, tflite.Int8Options(dense="per-channel"))
    return folder / "model.tflite"


@pytest.fixture(scope="module")
def rewritten(per_channel: Path) -> Path:
    """Return the same with the Dense layer as a convolution."""
    path = per_channel.with_name("rewritten.tflite")
    path.write_bytes(dense_as_convolution(per_channel.read_bytes()))
    return path


def _changed(path: Path, change: Callable[[Any, Any, Any], None]) -> bytes:
    """Return a file after a change to its graph, its Dense operation and that one's weights."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(path.read_bytes()), 0))
    (graph,) = tree.subgraphs
    number = schema.BuiltinOperator.FULLY_CONNECTED
    dense = next(each for each in graph.operators if tree.operatorCodes[each.opcodeIndex].builtinCode == number)
    change(graph, dense, graph.tensors[dense.inputs[1]])
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _outputs(python: Path | str, model: Path, pixels: Path, folder: Path) -> Any:
    outputs = folder / f"{model.stem}.npy"
    subprocess.run([python, "-c", RUN, model, pixels, outputs], timeout=100, check=True)
    return np.load(outputs)


def _dense_alone(path: Path) -> bytes:
    """Return a file with nothing but the Dense layer of another."""

    def cut(graph: Any, dense: Any, weights: Any) -> None:
        del weights
        graph.operators = [dense]
        graph.inputs, graph.outputs = [dense.inputs[0]], [dense.outputs[0]]

    return _changed(path, cut)


@pytest.mark.parametrize("name", ["litert", "tflite-2.5", "tflite-2.7", "tflite-2.14"])
def test_every_runtime_computes_the_convolution_as_litert_computes_the_dense_layer(
    name: str, per_channel: Path, tmp_path: Path
) -> None:
    # Alone, since kernels of different versions round the layers before it differently, and a softmax amplifies that.
    dense, convolution, numbers = tmp_path / "dense.tflite", tmp_path / "convolution.tflite", tmp_path / "numbers.npy"
    dense.write_bytes(_dense_alone(per_channel))
    convolution.write_bytes(dense_as_convolution(dense.read_bytes()))
    (width,) = read_graph(dense).inputs[0].shape[1:]
    np.save(numbers, np.random.default_rng(9).integers(-128, 128, (1000, width), dtype=np.int8))
    expected = _outputs(sys.executable, dense, numbers, tmp_path)
    assert len({output.tobytes() for output in expected}) > 500
    found = abs(_outputs(_python(name), convolution, numbers, tmp_path).astype(int) - expected)
    assert found.max() <= 1
    assert (found > 0).mean() <= ROUNDED.get(name, 0)


def test_litert_outputs_the_same_integers_for_all_golden_images(
    per_channel: Path, rewritten: Path, digits_source: Source, tmp_path: Path
) -> None:
    pixels = digits_source.folder / "pixels.npy"
    expected = _outputs(sys.executable, per_channel, pixels, tmp_path)
    assert len({output.tobytes() for output in expected}) > 50
    np.testing.assert_array_equal(_outputs(sys.executable, rewritten, pixels, tmp_path), expected)


@pytest.mark.parametrize("name", ["tflite-2.5", "tflite-2.7"])
def test_old_runtimes_classify_all_golden_images_as_litert_does(
    name: str, per_channel: Path, rewritten: Path, digits_source: Source, tmp_path: Path
) -> None:
    pixels = digits_source.folder / "pixels.npy"
    expected = _outputs(sys.executable, per_channel, pixels, tmp_path)
    outputs = _outputs(_python(name), rewritten, pixels, tmp_path)
    decided = outputs.argmax(axis=1) == expected.argmax(axis=1)
    # One in 360 is so near the border that rounding before the Dense layer may decide it.
    assert decided.mean() >= 359 / 360


def _python(name: str) -> Path:
    """Return the Python that has a runtime; skip where there is none."""
    target = {"tflite-2.14": "tflite-runtime"}.get(name, name)
    if why := next((each.missing() for each in TARGETS if each.name == target), None):
        pytest.skip(why)
    return Path(sys.executable) if name == "litert" else ROOT / f".venv-{name}" / "bin" / "python"


def test_a_dense_layer_becomes_reshape_convolution_reshape(per_channel: Path, rewritten: Path) -> None:
    before, after = read_graph(per_channel), read_graph(rewritten)
    at = next(at for at, each in enumerate(before.operations) if each.name == "FULLY_CONNECTED")
    named = [(each.name, each.version) for each in after.operations]
    assert named[at : at + 3] == [("RESHAPE", 1), ("CONV_2D", 3), ("RESHAPE", 1)]
    assert [each.name for each in before.operations[:at]] == [name for name, _ in named[:at]]
    assert after.operations[at + 1].inputs[1].shape == (10, 1, 1, before.operations[at].inputs[1].shape[1])  # type: ignore[union-attr]
    assert after.operations[at + 1].inputs[1].scales == 10  # type: ignore[union-attr]
    assert "FULLY_CONNECTED" not in {name for name, _ in named}


@pytest.mark.parametrize("name", ["tflite-2.5", "tflite-2.7", "edgetpu"])
def test_lint_has_no_findings_in_it(name: str, per_channel: Path, rewritten: Path) -> None:
    assert lint(per_channel, name).findings != ()
    assert lint(rewritten, name).findings == ()


def test_a_missing_bias_is_written_as_zeros_with_the_scales_of_the_sum(per_channel: Path, tmp_path: Path) -> None:
    def drop_bias(graph: Any, dense: Any, weights: Any) -> None:
        del graph, weights
        dense.inputs = [*dense.inputs[:2], -1]

    path = tmp_path / "model.tflite"
    path.write_bytes(dense_as_convolution(_changed(per_channel, drop_bias)))
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(path.read_bytes()), 0))
    (graph,) = tree.subgraphs
    number = schema.BuiltinOperator.CONV_2D
    convolution = [each for each in graph.operators if tree.operatorCodes[each.opcodeIndex].builtinCode == number][-1]
    image, weights, bias = (graph.tensors[at] for at in convolution.inputs)
    assert np.frombuffer(tree.buffers[bias.buffer].data, np.int32).tolist() == [0] * 10
    np.testing.assert_allclose(bias.quantization.scale, image.quantization.scale[0] * np.asarray(weights.quantization.scale))


def test_a_per_tensor_file_is_returned_unchanged(exported_digits: Any) -> None:
    model = (exported_digits.build / "tflite-int8" / "model.tflite").read_bytes()
    assert dense_as_convolution(model) is model


def _share(graph: Any, dense: Any, weights: Any) -> None:
    del weights
    graph.operators.append(dense)


def _shuffle(graph: Any, dense: Any, weights: Any) -> None:
    del graph, weights
    dense.builtinOptions.weightsFormat = schema.FullyConnectedOptionsWeightsFormat.SHUFFLED4x16INT8


def _make_dynamic(graph: Any, dense: Any, weights: Any) -> None:
    del weights
    graph.tensors[dense.inputs[0]].shapeSignature = [-1, 4]


def _four_bits(graph: Any, dense: Any, weights: Any) -> None:
    del graph, dense
    weights.type = schema.TensorType.INT4


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_share, "another operation reads its weights too"),
        (_shuffle, "in a layout for one kernel alone"),
        (_make_dynamic, "a size of its input is dynamic"),
        (_four_bits, "are not int8"),
    ],
)
def test_what_cannot_be_rewritten_is_refused(change: Any, found: str, per_channel: Path) -> None:
    with pytest.raises(EdgeError, match=found, check=lambda error: error.code == "EF-tflite-dense-rewrite"):
        dense_as_convolution(_changed(per_channel, change))
