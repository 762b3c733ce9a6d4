# SPDX-License-Identifier: Apache-2.0
"""A SavedModel folder of Keras 2, Keras 3 or plain TensorFlow as a Keras model of one layer: the frozen graph of its signature.

Nothing of it runs before its operations are checked: none may be custom, call Python, or read or write files.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.loading.bounds import MOST_BYTES
from edgeferry.models.loading.file_check import SAVED_MODEL as FILE
from edgeferry.models.loading.loaded import Change, Loaded
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import files_below

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef

SIGNATURE: Final = "serving_default"
TAG: Final = "serve"
# What a graph may hold besides weights: protobuf reads no more than 2 GiB.
MOST_GRAPH_BYTES: Final = 1 << 30
CODE: Final = "model-saved-model"
# Operations that run Python, or touch files, the network or other devices.
REFUSED: Final = frozenset(
    {
        *("PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "Print", "PrintV2", "Save"),
        *("InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "WholeFileReader", "WholeFileReaderV2"),
        *("TextLineReader", "TextLineReaderV2", "TFRecordReader", "TFRecordReaderV2", "FixedLengthRecordReader"),
        *("FixedLengthRecordReaderV2", "LMDBReader", "TextLineDataset", "TFRecordDataset", "FixedLengthRecordDataset"),
        *("SaveSlices", "SaveV2", "Restore", "RestoreSlice", "RestoreV2", "MergeV2Checkpoints", "DebugIdentityV2", "RpcCall"),
    }
)
# Numbers of TensorFlow's types: float32; float16 and bfloat16.
FLOAT: Final = 1
HALVES: Final = (19, 14)
# Kept by TensorFlow for saving itself: functions that are never called here, whose operations do nothing else.
SAVERS: Final = ("__inference__traced_save", "__inference__traced_restore")
SAVER_NODES: Final = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints"})


def check_saved_model(folder: Path) -> None:
    """Refuse a SavedModel folder that is too large, holds links, or has operations that a classifier has not.

    Raises:
        EdgeError: the message names the operation, or what the folder holds.
    """
    files = files_below(folder)
    if any(path.is_symlink() or not path.is_file() for path in files):
        raise EdgeError("EF-model-file-kind", f"{folder}: holds links; expected a folder as TensorFlow writes it.")
    size = sum(path.stat().st_size for path in files)
    if size > MOST_BYTES or (folder / FILE).stat().st_size > MOST_GRAPH_BYTES:
        raise EdgeError(
            "EF-model-too-large", f"{folder}: has {size} bytes; expected at most {MOST_BYTES}, with a graph of 1 GiB."
        )


def load_saved_model(folder: Path) -> Loaded:
    """Return a SavedModel's signature as a Keras model, its weights frozen.

    Raises:
        EdgeError: it is damaged, has no signature of one tensor in and one out, or an operation that is refused.
    """
    import tensorflow as tf

    check_saved_model(folder)
    graph = _graph_of(folder)
    _check_operations(_operations(graph), folder, frozenset(each.signature.name for each in graph.graph_def.library.function))
    name, signature = _signature_of(graph, folder)
    try:
        # The object holds the variables that its functions read, until they are frozen.
        held = tf.saved_model.load(str(folder), tags=[TAG])
        model = _as_model(held.signatures[name], signature, folder)
    except (tf.errors.OpError, ValueError, KeyError, OSError, RuntimeError, AttributeError) as error:
        text = " ".join(str(error).split())[:200]
        raise EdgeError("EF-model-load", f"{folder}: TensorFlow {tf.__version__} cannot load it: {text}") from error
    return Loaded(model, (Change(CODE, f"is a SavedModel, taken as the frozen graph of its signature {name!r}"),))


def _graph_of(folder: Path) -> "MetaGraphDef":
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    held = SavedModel()
    try:
        held.ParseFromString((folder / FILE).read_bytes())
    except DecodeError as error:
        raise EdgeError(
            "EF-model-damaged", f"{folder / FILE}: is damaged or cut short ({error}); save the model again."
        ) from None
    graph = next((each for each in held.meta_graphs if TAG in each.meta_info_def.tags), None)
    if graph is None:
        raise EdgeError("EF-model-incomplete", f"{folder}: holds no graph for serving; save the model with tf.saved_model.save.")
    if not graph.HasField("object_graph_def"):
        raise EdgeError("EF-model-load", f"{folder}: was saved by TensorFlow 1; save it again with tf.saved_model.save.")
    return graph


def _check_operations(names: Iterable[str], folder: Path, functions: frozenset[str] = frozenset()) -> None:
    from tensorflow.python.framework.op_def_registry import get

    for name in names:
        if name in REFUSED:
            raise EdgeError(
                "EF-model-operation",
                f"{folder}: has the operation {name}, which runs code or touches files, so it is not run. Save one without it.",
            )
        if name not in functions and get(name) is None:
            raise EdgeError(
                "EF-model-operation",
                f"{folder}: has the operation {name}, which is not TensorFlow's own and which no format has.",
            )


def _operations(graph: "MetaGraphDef") -> Iterator[str]:
    """Yield the names of all operations; apart from those for saving in functions that no object of the model can call."""
    yield from (node.op for node in graph.graph_def.node if node.op not in SAVER_NODES)
    for function in graph.graph_def.library.function:
        name = function.signature.name
        if not name.startswith(SAVERS) or name in graph.object_graph_def.concrete_functions:
            yield from (node.op for node in function.node_def)


def _signature_of(graph: "MetaGraphDef", folder: Path) -> "tuple[str, SignatureDef]":
    """Return the signature for serving, or the only one, refused where it has not one tensor in and one out."""
    own = {name: each for name, each in graph.signature_def.items() if not name.startswith("__")}
    if SIGNATURE not in own and len(own) != 1:
        raise EdgeError(
            "EF-model-signature",
            f"{folder}: has {len(own)} signatures ({', '.join(sorted(own)) or 'none'}) and none is {SIGNATURE!r}; save it with "
            "tf.saved_model.save(model, folder, signatures=...).",
        )
    name = SIGNATURE if SIGNATURE in own else next(iter(own))
    for side, tensors in (("input", own[name].inputs), ("output", own[name].outputs)):
        if len(tensors) != 1:
            raise EdgeError(
                "EF-model-tensor-count",
                f"{folder}: has {len(tensors)} {side}s ({', '.join(sorted(tensors))}); only classifiers with one {side} are "
                "supported.",
            )
    return name, own[name]


def _as_model(function: Any, signature: "SignatureDef", folder: Path) -> Any:
    """Return a signature's function, frozen, as a Keras model; a sigmoid at its end is a layer of its own."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    (taken,) = signature.inputs.values()
    image = keras.Input(batch_shape=_shape(taken), dtype=tf.as_dtype(taken.dtype).name, name="image")
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def()
    # What the signature calls, by whichever name: none of it has run.
    inner = (node.op for each in graph.library.function for node in each.node_def)
    _check_operations(
        (*(node.op for node in graph.node), *inner), folder, frozenset(each.signature.name for each in graph.library.function)
    )
    _check_numbers(graph, folder)
    nodes = {node.name: node for node in graph.node}
    last = frozen.outputs[0].op.name
    while nodes[last].op == "Identity":
        last = _node(nodes[last].input[0])
    sigmoid = nodes[last].op == "Sigmoid"
    output = nodes[last].input[0] if sigmoid else frozen.outputs[0].name
    (given,) = signature.outputs.values()
    scores = _layer(_pruned(graph, frozen.inputs[0].name, output), _shape(given)[1:])(image)
    return keras.Model(image, keras.layers.Activation("sigmoid")(scores) if sigmoid else scores, name="saved_model")


def _check_numbers(graph: "GraphDef", folder: Path) -> None:
    """Refuse a frozen graph that computes in half precision, or whose weights are not numbers."""
    import numpy as np
    import tensorflow as tf

    for node in graph.node:
        halves = [tf.as_dtype(value.type).name for value in node.attr.values() if value.type in HALVES]
        if halves:
            raise EdgeError(
                "EF-model-precision",
                f"{folder}: computes in {halves[0]} (at {node.name}); the exporters need 'float32'. Name the Keras file instead, "
                "which is made again in float32.",
            )
        if node.op == "Const" and node.attr["dtype"].type == FLOAT and np.isnan(tf.make_ndarray(node.attr["value"].tensor)).any():
            raise EdgeError(
                "EF-model-not-finite", f"{folder}: {node.name!r} holds NaN; train the model again, or restore an earlier save."
            )


def _layer(function: Any, shape: Iterable[int | None]) -> Any:
    import keras

    class FrozenGraph(keras.Layer):  # type: ignore[misc]
        """One frozen function of TensorFlow."""

        def compute_output_shape(self, taken: tuple[int | None, ...]) -> tuple[int | None, ...]:
            """Return the shape of the scores for a shape of images."""
            return (taken[0], *shape)

        def call(self, images: Any) -> Any:
            """Return the scores of images."""
            return function(images)

    return FrozenGraph(name="graph", trainable=False)


def _pruned(graph: "GraphDef", taken: str, given: str) -> Any:
    """Return a frozen graph as a function of one tensor."""
    import tensorflow as tf

    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    whole = given if ":" in given else f"{given}:0"
    return wrapped.prune(wrapped.graph.get_tensor_by_name(taken), wrapped.graph.get_tensor_by_name(whole))


def _node(name: str) -> str:
    return name.partition(":")[0].removeprefix("^")


def _shape(tensor: Any) -> tuple[int | None, ...]:
    return tuple(None if size.size < 0 else int(size.size) for size in tensor.tensor_shape.dim)
