# SPDX-License-Identifier: Apache-2.0
"""TensorFlow.js graph models: float32, and weights stored in float16 or uint8.

The converter's modules are loaded one by one: its package imports jax and decision forests, which a classifier does not need
(half a gigabyte, and they exclude current TensorFlow).
"""

import contextlib
import glob
import importlib
import importlib.util
import json
import sys
import types
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from exporters.format import Format, Written
from exporters.source import INPUT, Source
from models.artifact import Tensor, Tolerance
from models.errors import EdgeError

FILE: Final = "model.json"
VERSION: Final = "4.22.0"
SHARD_BYTES: Final = 4 * 1024 * 1024
CONVERSION: Final = "tensorflowjs.converters.tf_saved_model_conversion_v2"
# Names the converter imports and uses only for models that are not classifiers.
UNUSED: Final = ("tensorflow_decision_forests", "tensorflow_hub")


def write(source: Source, folder: Path, precision: str) -> Written:
    """Write a graph model whose inputs and outputs keep their names, labels and preprocessing in its metadata.

    ``precision`` is that of the stored weights; a browser computes in float32 whatever it is.
    """
    import tensorflow as tf

    converter = conversion()
    graph = source.graph_of(None)
    with tf.Graph().as_default() as frozen:
        tf.import_graph_def(graph, name="")
    signature = _signature(frozen, source)
    optimized = converter.optimize_graph(frozen, signature)
    # Takes the weights out of the graph; before the graph is written, or they would stand in both files.
    weights = converter.extract_weights(optimized)
    converter.write_artifacts(
        converter.MessageToDict(optimized),
        weights,
        str(folder / FILE),
        tf.__version__,
        signature,
        quantization_dtype_map=_stored_as(precision, weights, optimized),
        weight_shard_size_bytes=SHARD_BYTES,
        metadata={
            "labels": list(source.spec.labels),
            "preprocessing": asdict(source.spec.preprocessing),
            "output": source.output,
            "source_sha256": source.reference.source_sha256,
        },
    )
    return Written(FILE, *_read(folder / FILE), options={"weights": precision, "shard_bytes": SHARD_BYTES})


def _stored_as(precision: str, weights: Any, graph: Any) -> dict[str, Any] | None:
    """Return which weights are stored in which type.

    One range for a whole tensor costs depthwise weights most, whose channels differ by orders of magnitude once batch
    normalisation is in them, and biases gain nothing: both stay in float16. On EfficientNet-Lite0 that is 96.4 % agreement
    for 88.2 %, and a file larger by 4 %.
    """
    if precision == "float32":
        return None
    if precision != "uint8":
        return {precision: True}
    depthwise = {node.input[1] for node in graph.node if "DepthwiseConv2d" in node.op}
    held = [each for group in weights for each in group if each["data"].dtype == "float32"]
    # Names are patterns to the converter.
    kept = [glob.escape(each["name"]) for each in held if each["name"] in depthwise or each["data"].ndim < 2]
    return {"float16": kept, "uint8": True} if kept else {"uint8": True}


def conversion() -> Any:
    """Return the converter's module, loaded without the package around it.

    Raises:
        EdgeError: tensorflowjs is absent, or another version (private names of it are used).
    """
    if CONVERSION in sys.modules:
        return sys.modules[CONVERSION]
    spec = importlib.util.find_spec("tensorflowjs")
    if spec is None or not spec.submodule_search_locations:
        raise EdgeError(f"tensorflowjs is not installed; `make install` brings {VERSION}.")
    root = Path(spec.submodule_search_locations[0])
    for name, place in (("tensorflowjs", root), ("tensorflowjs.converters", root / "converters")):
        if name not in sys.modules:
            module = types.ModuleType(name)
            module.__path__ = [str(place)]
            sys.modules[name] = module
    version = importlib.import_module("tensorflowjs.version").version
    if version != VERSION:
        raise EdgeError(f"tensorflowjs {version} is installed, {VERSION} is needed; `make install` brings it.")
    with _stubs():
        return importlib.import_module(CONVERSION)


@contextlib.contextmanager
def _stubs() -> Any:
    added = [name for name in UNUSED if name not in sys.modules and importlib.util.find_spec(name) is None]
    sys.modules.update({name: types.ModuleType(name) for name in added})
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


def _signature(graph: Any, source: Source) -> Any:
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

    signature = SignatureDef()
    for side, name in ((signature.inputs, INPUT), (signature.outputs, source.output)):
        tensor = graph.get_tensor_by_name(f"{name}:0")
        side[name].name = tensor.name
        side[name].dtype = tensor.dtype.as_datatype_enum
        side[name].tensor_shape.CopyFrom(tensor.shape.as_proto())
    return signature


def _read(path: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    signature = json.loads(path.read_text(encoding="utf-8"))["signature"]
    inputs, outputs = (tuple(_tensor(name, told) for name, told in signature[side].items()) for side in ("inputs", "outputs"))
    return inputs, outputs


def _tensor(name: str, told: dict[str, Any]) -> Tensor:
    sizes = [int(size["size"]) for size in told["tensorShape"]["dim"]]
    kind = "float32" if told["dtype"] == "DT_FLOAT" else told["dtype"].removeprefix("DT_").lower()
    return Tensor(name, tuple(None if size < 0 else size for size in sizes), kind)


def _format(precision: str, summary: str, tolerance: Tolerance) -> Format:
    tools = ("tensorflowjs", "tensorflow-cpu", "tensorflow", "keras")
    return Format(f"tfjs-{precision}", "tfjs", summary, tolerance, partial(write, precision=precision), tools)


FORMATS = (
    _format(
        "float32",
        "TensorFlow.js graph model",
        Tolerance(1.0, 1e-3, 1e-4, "the same float32 arithmetic in another order; MobileNetV2 moves by 1e-5"),
    ),
    _format(
        "float16",
        "TensorFlow.js, float16 weights",
        Tolerance(
            0.995, 0.03, 0.005, "weights rounded to 11 bits; EfficientNet-Lite0 agrees on 219 of 220 images, moves by 0.007"
        ),
    ),
    _format(
        "uint8",
        "TensorFlow.js, uint8 weights",
        Tolerance(
            0.95,
            0.50,
            0.10,
            "one range of 256 steps for all weights of a layer, depthwise ones and biases in float16; EfficientNet-Lite0 agrees "
            "on 96.4 % of 220 images, one moves by 0.32, all by 0.05 in the mean",
        ),
    ),
)
