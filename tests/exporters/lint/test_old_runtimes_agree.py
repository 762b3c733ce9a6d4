# SPDX-License-Identifier: Apache-2.0
"""lint compared with what TF Lite 2.5 and 2.7 really compute for sixty small classifiers, LiteRT's kernels being the reference.

Where lint finds no error, the old runtime must be within one step of LiteRT for every input; where it finds one, the old runtime
must reject the file or differ. All are converted in this process; each runtime runs all of them in a process of its own.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeferry.exporters.graph.calls import inlined
from edgeferry.exporters.graph.fold import fold_batchnorm, fold_constants
from edgeferry.exporters.graph.groups import split_groups
from edgeferry.exporters.graph.source import function_of
from edgeferry.exporters.lint.lint import lint
from edgeferry.exporters.tflite.rewrite import dense_as_convolution
from edgeferry.models.system.places import ROOT
from edgeferry.targets.boards.tflite_runtime import TARGETS

pytestmark = pytest.mark.slow

OLD: Final = ("tflite-2.5", "tflite-2.7")
INPUTS: Final = 10
CLASSES: Final = 5
# Kernels of different versions round a sum up or down by one step, as LiteRT's own and XNNPACK's do. A head that depends on
# differences of a few input steps, or a steep softmax after it, amplifies that step: to 2 or 3 of 256 where scores are 2 apart,
# to 132 where a head without a ridge takes differences of one step for those between classes. These heads do neither.
RIDGE: Final = 8
STEEPNESS: Final = 1.0
STEP: Final = 1
# Two steps of 256 from LiteRT's own kernels, in one score of one input, and one step from XNNPACK's: compared with the latter.
ROUNDED: Final = {"tflite-2.7": ("merged",)}
# Of 256; the outputs of a file must differ by more between inputs, or a constant would agree with them.
LEAST_SPREAD: Final = 16
# Runs every file under one runtime. A file that crashes it leaves a note, and the next start continues after it.
RUN_ALL: Final = """\
import sys
from pathlib import Path
import numpy as np
try:
    from tflite_runtime import interpreter as runtime
except ImportError:
    from ai_edge_litert import interpreter as runtime
kinds = getattr(runtime, "OpResolverType", None)
files, outputs, delegate = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "xnnpack"
own = kinds is not None and not delegate
options = {"experimental_op_resolver_type": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES} if own else {}
for path in sorted(files.glob("*.tflite")):
    note = outputs / (path.stem + ".txt")
    if note.exists():
        continue
    note.write_text("crashed the runtime")
    try:
        interpreter = runtime.Interpreter(str(path), **options)
        interpreter.allocate_tensors()
        takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        found = []
        for image in np.load(str(path.with_suffix(".npy"))):
            interpreter.set_tensor(takes["index"], image[None])
            interpreter.invoke()
            found.append(interpreter.get_tensor(gives["index"])[0].astype(np.int32))
        np.save(str(outputs / (path.stem + ".npy")), np.stack(found))
        note.write_text("")
    except Exception as error:
        note.write_text(" ".join(str(error).split()))
"""


@dataclass(frozen=True)
class Network:
    """A classifier and how it is converted; ``body`` maps an image to the input of the head."""

    body: Callable[[Any, Any], Any]
    shape: tuple[int, ...] = (16, 16, 3)
    head: str = "softmax"
    dense: str = "per-tensor"
    bias: bool = True
    split: bool = True
    integer: str = "int8"
    open_batch: bool = False


def _conv(image: Any, filters: int = 8, size: int = 3, **options: Any) -> Any:
    from keras import layers

    return layers.Conv2D(filters, size, **{"padding": "same", "activation": "relu", **options})(image)


def _pooled(middle: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a body: a convolution, ``middle``, and global average pooling."""
    return lambda image, layers: layers.GlobalAveragePooling2D()(middle(_conv(image, strides=2), layers))


def _after(name: str, /, *arguments: Any, **options: Any) -> Callable[[Any, Any], Any]:
    """Return a body with one Keras layer of that name in it."""
    return _pooled(lambda image, layers: getattr(layers, name)(*arguments, **options)(image))


def _activation(name: str) -> Callable[[Any, Any], Any]:
    return _after("Activation", name)


def _excited(image: Any, layers: Any, first: str, gate: str) -> Any:
    small = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(image))
    scale = layers.Conv2D(8, 1, activation=gate)(layers.Conv2D(4, 1, activation=first)(small))
    return layers.Multiply()([image, scale])


def _residual(image: Any, layers: Any) -> Any:
    padded = layers.ZeroPadding2D(1)(image)
    inner = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2)(padded))
    return layers.ReLU()(layers.Add()([inner, layers.Conv2D(8, 1, strides=2)(image)]))


def _inverted(image: Any, layers: Any, activation: str = "relu6") -> Any:
    wide = layers.Activation(activation)(layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(image)))
    deep = layers.Activation(activation)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(wide)))
    return layers.Add()([image, layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(deep))])


def _inception(image: Any, layers: Any) -> Any:
    pool = _conv(layers.MaxPooling2D(3, strides=1, padding="same")(image), 4, 1)
    return layers.Concatenate()([_conv(image, 4, 1), _conv(image, 4, 3), _conv(_conv(image, 4, 1), 4, 5), pool])


def _dense_block(image: Any, layers: Any) -> Any:
    for _ in range(3):
        image = layers.Concatenate()([image, _conv(layers.ReLU()(layers.BatchNormalization()(image)), 4)])
    return layers.AveragePooling2D(2)(_conv(image, 8, 1))


def _resnext(image: Any, layers: Any) -> Any:
    inner = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", groups=4, use_bias=False)(image)))
    return layers.ReLU()(layers.Add()([image, layers.Conv2D(8, 1)(inner)]))


def _mobilenet(image: Any, layers: Any) -> Any:
    for strides in (1, 2):
        image = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, strides, "same", use_bias=False)(image)))
        image = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(image)))
    return image


def _merged(image: Any, layers: Any) -> Any:
    one, other = _conv(image), _conv(image, activation="tanh")
    parts = [layers.Subtract(), layers.Maximum(), layers.Minimum(), layers.Average()]
    return layers.Concatenate()([part([one, other]) for part in parts])


def _attention(image: Any, layers: Any) -> Any:
    tokens = layers.Reshape((64, 8))(image)
    return layers.Reshape((8, 8, 8))(layers.MultiHeadAttention(2, 4)(tokens, tokens))


def _flat(image: Any, layers: Any) -> Any:
    return layers.Flatten()(_conv(image, 4, strides=4))


def _mlp(image: Any, layers: Any) -> Any:
    return layers.Dense(12, activation="relu")(layers.Dense(16, activation="relu")(layers.Flatten()(image)))


def _conv1d(image: Any, layers: Any) -> Any:
    rows = layers.Reshape((16, 48))(image)
    return layers.GlobalAveragePooling1D()(layers.Conv1D(8, 3, activation="relu")(rows))


_GROUPED: Final = _after("Conv2D", 8, 3, groups=2, activation="relu", name="in_groups")
CASES: Final = {
    "flatten": Network(_flat),
    "pooled": Network(_pooled(lambda image, _: image)),
    "pooled-uint8": Network(_pooled(lambda image, _: image), integer="uint8"),
    "pooled-convolution-head": Network(
        lambda image, layers: layers.Flatten()(_conv(layers.GlobalAveragePooling2D(keepdims=True)(_conv(image)), 8, 1))
    ),
    "reshape": Network(_pooled(lambda image, layers: _conv(layers.Reshape((16, 4, 8))(image)))),
    "residual": Network(_pooled(_residual)),
    "squeeze-relu": Network(_pooled(lambda image, layers: _excited(image, layers, "relu", "sigmoid"))),
    "squeeze-hard-swish": Network(_pooled(lambda image, layers: _excited(image, layers, "hard_swish", "hard_sigmoid"))),
    "squeeze-silu": Network(_pooled(lambda image, layers: _excited(image, layers, "silu", "sigmoid"))),
    "conv1d": Network(_conv1d),
    "mlp": Network(_mlp),
    "mlp-uint8": Network(_mlp, integer="uint8"),
    "sigmoid-head": Network(_flat, head="sigmoid"),
    "logits": Network(_flat, head="linear"),
    "layer-norm": Network(_after("LayerNormalization")),
    "layer-norm-gelu": Network(
        _pooled(lambda image, layers: layers.Activation("gelu")(layers.LayerNormalization()(image)))
    ),
    "gelu": Network(_activation("gelu")),
    "grouped": Network(_GROUPED, split=False),
    "grouped-split": Network(_GROUPED),
    "grouped-split-uint8": Network(_GROUPED, integer="uint8"),
    "grouped-depthwise": Network(_after("Conv2D", 16, 3, groups=8, activation="relu6")),
    "grouped-strides": Network(_after("Conv2D", 16, 3, groups=8, strides=(2, 1), dilation_rate=1)),
    "resnext": Network(_pooled(_resnext)),
    "resnext-plain": Network(_pooled(_resnext), split=False),
    "mobilenet-v1": Network(_pooled(_mobilenet)),
    "mobilenet-v2": Network(_pooled(_inverted)),
    "mobilenet-v3": Network(
        _pooled(lambda image, layers: _excited(_inverted(image, layers, "hard_swish"), layers, "relu", "hard_sigmoid"))
    ),
    "separable": Network(_after("SeparableConv2D", 8, 3, activation="relu")),
    "depth-multiplier": Network(_after("DepthwiseConv2D", 3, depth_multiplier=3, activation="relu")),
    "dilated": Network(_after("Conv2D", 8, 3, dilation_rate=2, activation="relu")),
    "dilated-unevenly": Network(_after("Conv2D", 8, 3, dilation_rate=(2, 1))),
    "transposed": Network(_after("Conv2DTranspose", 8, 3, strides=2, activation="relu")),
    "transposed-linear": Network(_after("Conv2DTranspose", 8, 3, strides=2)),
    "prelu-shared": Network(_after("PReLU", alpha_initializer="uniform", shared_axes=[1, 2])),
    "prelu": Network(_after("PReLU", alpha_initializer="uniform")),
    "leaky-relu": Network(_after("LeakyReLU")),
    "elu": Network(_after("ELU")),
    "hard-swish": Network(_activation("hard_swish")),
    "tanh": Network(_activation("tanh")),
    "softplus": Network(_activation("softplus")),
    "average-pool": Network(_after("AveragePooling2D", 3, strides=2, padding="same")),
    "max-pool": Network(_after("MaxPooling2D", 2)),
    "global-max-pool": Network(lambda image, layers: layers.GlobalMaxPooling2D()(_conv(image))),
    "inception": Network(_pooled(_inception)),
    "dense-block": Network(_pooled(_dense_block)),
    "batch-norm-first": Network(
        lambda image, layers: layers.GlobalAveragePooling2D()(_conv(layers.BatchNormalization()(image)))
    ),
    "merged": Network(_pooled(_merged)),
    "attention": Network(_pooled(_attention)),
    "upsampled": Network(_after("UpSampling2D", 2, interpolation="bilinear")),
    "upsampled-nearest": Network(_after("UpSampling2D", 2)),
    "cropped": Network(_after("Cropping2D", 2)),
    "permuted": Network(_pooled(lambda image, layers: _conv(layers.Permute((2, 3, 1))(image)))),
    "conv3d": Network(
        lambda image, layers: layers.GlobalAveragePooling3D()(layers.Conv3D(4, 3, activation="relu")(image)), (4, 8, 8, 2)
    ),
    "open-batch": Network(_pooled(lambda image, _: image), open_batch=True),
    "open-flatten": Network(_flat, open_batch=True),
    "per-channel": Network(_pooled(lambda image, _: image), dense="per-channel"),
    "per-channel-uint8": Network(_pooled(lambda image, _: image), dense="per-channel", integer="uint8"),
    "per-channel-mlp": Network(_mlp, dense="per-channel"),
    "per-channel-no-bias": Network(_flat, dense="per-channel", bias=False),
    "rewritten": Network(_pooled(lambda image, _: image), dense="convolution"),
    "rewritten-uint8": Network(_pooled(lambda image, _: image), dense="convolution", integer="uint8"),
    "rewritten-mlp": Network(_mlp, dense="convolution"),
    "rewritten-no-bias": Network(_flat, dense="convolution", bias=False),
    "rewritten-mobilenet-v2": Network(_pooled(_inverted), dense="convolution"),
}  # fmt: skip
# The same file with its Dense layers as FULLY_CONNECTED and as CONV_2D.
PAIRS: Final = (
    ("per-channel", "rewritten"),
    ("per-channel-uint8", "rewritten-uint8"),
    ("per-channel-mlp", "rewritten-mlp"),
    ("per-channel-no-bias", "rewritten-no-bias"),
)


def _classifier(case: Network) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    image = keras.Input(case.shape)
    features = case.body(image, layers)
    scores = layers.Dense(CLASSES, use_bias=case.bias, name="scores")(features)
    model = keras.Model(image, layers.Activation(case.head)(scores) if case.head != "linear" else scores)
    rng = np.random.default_rng(3)
    for weight in model.weights:
        # As after training: no bias and no moment of batch normalisation at its initial value.
        if weight.name in {"bias", "beta", "moving_mean"}:
            weight.assign(rng.normal(0, 0.2, weight.shape))
        elif weight.name in {"gamma", "moving_variance"}:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in {"kernel", "depthwise_kernel", "pointwise_kernel"}:
            # Glorot's initial values halve what passes a ReLU, and Keras' depthwise ones do worse.
            weight.assign(weight * 2.0)
    images, classes = _images(case.shape, 4, 80)
    model.get_layer("scores").set_weights(_fitted(np.asarray(keras.Model(image, features)(images)), classes, bias=case.bias))
    return model


def _fitted(features: NDArray[np.float32], classes: NDArray[np.int64], *, bias: bool) -> list[NDArray[np.float32]]:
    """Return the weights of a Dense layer that separates the classes: ridge regression on the body's outputs."""
    wanted = STEEPNESS * np.eye(CLASSES)[classes]
    middle = features.mean(axis=0) if bias else np.zeros(features.shape[1])
    centred, target = features - middle, wanted - (wanted.mean(axis=0) if bias else 0)
    ridge = len(features) * (RIDGE * np.ptp(features) / 255) ** 2 * np.eye(features.shape[1])
    kernel = np.linalg.solve(centred.T @ centred + ridge, centred.T @ target)
    return [kernel, wanted.mean(axis=0) - middle @ kernel] if bias else [kernel]


def _images(shape: tuple[int, ...], seed: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images of stripes on a ground from -1 to 1, with noise, and their classes: the stripes' width and both colours."""
    classes, rng = np.arange(count) % CLASSES, np.random.default_rng(seed)
    looks = np.random.default_rng(11)
    ground, stripe = looks.uniform(-0.9, 0.9, (2, CLASSES, *([1] * (len(shape) - 1)), shape[-1]))
    rows = np.arange(shape[-3]).reshape(-1, 1, 1)
    is_stripe = np.stack([np.broadcast_to(rows % (2 + each) < 1 + each // 2, shape) for each in range(CLASSES)])
    clean = np.where(is_stripe, stripe, ground)[classes]
    noisy = clean * rng.uniform(0.7, 1.1, (count, *([1] * len(shape)))) + rng.normal(0, 0.1, (count, *shape))
    return np.clip(noisy, -1, 1).astype(np.float32), classes


def _converted(case: Network) -> bytes:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    images, model = _images(case.shape, 1, 20)[0], _classifier(case)
    if case.open_batch:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
    else:
        signature = [tf.TensorSpec((1, *case.shape), name="image")]
        predict = tf.function(lambda image: model(image, training=False), input_signature=signature)
        frozen = convert_variables_to_constants_v2(predict.get_concrete_function(), lower_control_flow=False)
        graph = frozen.graph.as_graph_def()
        named = graph.node.add(name="scores_out", op="Identity", input=[frozen.outputs[0].name])
        named.attr["T"].type = tf.float32.as_datatype_enum
        graph = inlined(graph, "scores_out") if case.split else fold_constants(graph, "scores_out")
        graph = fold_batchnorm(graph, "scores_out")[0]
        graph = split_groups(graph, "scores_out")[0] if case.split else graph
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function_of(graph, "scores_out")])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(case.integer)
    converter._experimental_disable_per_channel_quantization_for_dense_layers = case.dense == "per-tensor"
    written: bytes = converter.convert()
    return dense_as_convolution(written) if case.dense == "convolution" else written


def _integers(path: Path, case: Network) -> NDArray[np.int8]:
    from ai_edge_litert.interpreter import Interpreter

    takes = Interpreter(str(path)).get_input_details()[0]
    scale, zero = takes["quantization"]
    limits = np.iinfo(takes["dtype"])
    steps = np.round(_images(case.shape, 2, INPUTS)[0] / scale) + zero
    integers: NDArray[np.int8] = np.clip(steps, limits.min, limits.max).astype(takes["dtype"])
    return integers


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every classifier converted, and its inputs next to it."""
    folder = tmp_path_factory.mktemp("classifiers")
    for name, case in CASES.items():
        path = folder / f"{name}.tflite"
        path.write_bytes(_converted(case))
        np.save(path.with_suffix(".npy"), _integers(path, case))
    return folder


def _outputs(python: str | Path, files: Path, folder: Path, kernels: str = "own") -> dict[str, NDArray[np.int32] | str]:
    """Return a runtime's output for each file, [inputs, classes], or its error."""
    notes: dict[str, str] = {}
    while CASES.keys() - notes.keys():
        before = len(notes)
        done = subprocess.run(
            [python, "-c", RUN_ALL, files, folder, kernels], capture_output=True, text=True, timeout=300, check=False
        )
        notes = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.txt")}
        assert len(notes) > before, done.stderr
    return {name: notes[name] or np.load(folder / f"{name}.npy") for name in CASES}


@pytest.fixture(scope="module")
def expected(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the output of LiteRT's own kernels for each file."""
    return _outputs(sys.executable, files, tmp_path_factory.mktemp("litert"))


@pytest.fixture(scope="module")
def delegated(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return LiteRT's output for each file with XNNPACK's kernels, which round like older ones more often than its own do."""
    return _outputs(sys.executable, files, tmp_path_factory.mktemp("xnnpack"), "xnnpack")


@pytest.fixture(scope="module", params=OLD)
def old(request: pytest.FixtureRequest, files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """Return an old runtime's name and its output for each file."""
    name = str(request.param)
    if why := next(target for target in TARGETS if target.name == name).missing():
        pytest.skip(why)
    return name, _outputs(ROOT / f".venv-{name}" / "bin" / "python", files, tmp_path_factory.mktemp(name))


def _works(output: Any, right: NDArray[np.int32]) -> bool:
    return not isinstance(output, str) and int(abs(output - right).max()) <= STEP


@pytest.mark.parametrize("case", CASES)
def test_litert_outputs_differ_between_inputs_so_that_a_constant_is_detected(case: str, expected: dict[str, Any]) -> None:
    assert not isinstance(expected[case], str), expected[case]
    assert np.ptp(expected[case], axis=0).max() >= LEAST_SPREAD


@pytest.mark.parametrize("case", CASES)
def test_the_old_runtime_is_right_where_lint_finds_no_error_and_wrong_where_it_finds_one(
    case: str, old: tuple[str, dict[str, Any]], expected: dict[str, Any], delegated: dict[str, Any], files: Path
) -> None:
    name, outputs = old
    errors = lint(files / f"{case}.tflite", name).errors
    works = _works(outputs[case], expected[case])
    if case in ROUNDED.get(name, ()):
        works = _works(outputs[case], delegated[case])
    assert works == (not errors), (outputs[case], expected[case], errors)


def test_there_are_files_with_and_without_errors(old: tuple[str, dict[str, Any]], files: Path) -> None:
    name, _ = old
    wrong = [case for case in CASES if lint(files / f"{case}.tflite", name).errors]
    assert len(wrong) >= 10
    assert len(CASES) - len(wrong) >= 40


def test_the_silent_constant_is_found(old: tuple[str, dict[str, Any]], files: Path) -> None:
    name, outputs = old
    constant = {case for case, output in outputs.items() if not isinstance(output, str) and np.ptp(output, axis=0).max() == 0}
    found = {case for case in CASES for each in lint(files / f"{case}.tflite", name).errors if each.rule == "per-channel-dense"}
    assert constant == found == {case for case, how in CASES.items() if how.dense == "per-channel"}


@pytest.mark.parametrize(("dense", "convolution"), PAIRS)
def test_a_dense_layer_written_as_a_convolution_outputs_the_same_integers(
    dense: str, convolution: str, expected: dict[str, Any]
) -> None:
    np.testing.assert_array_equal(expected[convolution], expected[dense])
