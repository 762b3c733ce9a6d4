# SPDX-License-Identifier: Apache-2.0
"""TensorFlow.js graph models: float32, and weights stored in float16, uint16 or uint8.

The converter's modules are loaded one by one: its package imports jax and decision forests, which a classifier does not need
(half a gigabyte, and incompatible with current TensorFlow).
"""

import contextlib
import glob
import importlib
import importlib.machinery
import importlib.util
import json
import sys
import types
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.format import Format, Written
from edgeferry.exporters.graph.groups import notes_on, without_groups
from edgeferry.exporters.graph.layers import lacks_operation
from edgeferry.exporters.graph.rewrites.choices import CHOICES
from edgeferry.exporters.graph.rewrites.exponentials import SPELLED
from edgeferry.exporters.graph.rewritten import EVERYWHERE, rewritten
from edgeferry.exporters.graph.source import INPUT, Source, without_loops
from edgeferry.exporters.options import option
from edgeferry.exporters.tfjs.graph import finished, prepared
from edgeferry.models.artifact import Tensor, Tolerance
from edgeferry.models.system.errors import EdgeError

FILE: Final = "model.json"
VERSION: Final = "4.22.0"
CONVERSION: Final = "tensorflowjs.converters.tf_saved_model_conversion_v2"
# Modules that the converter imports, but uses only for models that are not classifiers.
UNUSED: Final = ("tensorflow_decision_forests", "tensorflow_hub")


@dataclass(frozen=True)
class TfjsOptions:
    """The options of TensorFlow.js formats."""

    shard_bytes: int = option(
        "the largest weight file, in bytes, at least 65536; browsers cache files of up to 4 MiB",
        default=4 * 1024 * 1024,
        least=64 * 1024,
        reason="since each shard is a request of its own",
    )
    structured_output: bool = option(
        "`model.predict()` in TensorFlow.js returns `{probabilities: tensor}` (or `logits`) instead of a tensor", default=False
    )


def write(source: Source, folder: Path, options: TfjsOptions, precision: str) -> Written:
    """Write a graph model that keeps the names of inputs and outputs, with labels and preprocessing in its metadata.

    ``precision`` is that of the stored weights; a browser always computes in float32. Recurrent layers are unrolled:
    TensorFlow.js runs a graph with loops only through ``executeAsync``, if at all.

    Raises:
        EdgeError: TensorFlow.js lacks an operation of the model, or the converter is not installed.
    """
    import tensorflow as tf

    converter = conversion()
    unrolled = without_loops(source)
    ungrouped, groups = without_groups(rewritten(unrolled, *EVERYWHERE, SPELLED, CHOICES))
    graph, signature = _optimized(converter, ungrouped)
    # Moves the weights out of the graph; before the graph is written, or both files would contain them.
    weights = converter.extract_weights(graph)
    converter.write_artifacts(
        converter.MessageToDict(graph),
        weights,
        str(folder / FILE),
        tf.__version__,
        signature,
        quantization_dtype_map=_stored_as(precision, weights, graph),
        weight_shard_size_bytes=options.shard_bytes,
        metadata=_metadata(source, options),
    )
    recorded = {
        "weights": precision,
        "shard_bytes": options.shard_bytes,
        "structured_output": options.structured_output,
    }
    notes = (*(() if unrolled is source else ("recurrent layers are unrolled",)), *notes_on(groups))
    return Written(FILE, *_read(folder / FILE), notes=notes, options=recorded)


def _optimized(converter: Any, source: Source) -> tuple[Any, Any]:
    """Return the graph in its final form, with its weights, and its signature."""
    import tensorflow as tf

    with tf.Graph().as_default() as frozen:
        tf.import_graph_def(prepared(source.graph_of(None), source.output), name="")
    signature = _signature(frozen, source)
    # The converter's names for fused depthwise convolutions differ from TensorFlow's; its check runs after they are renamed.
    fused = finished(converter.optimize_graph(frozen, signature, skip_op_check=True), source.output)
    graph = converter.fuse_prelu.fuse_prelu_with_fused_conv2d_or_matmul(fused)
    if missing := converter.validate(graph, skip_op_check=False, strip_debug_ops=False):
        found = next(node for node in graph.node if node.op in missing)
        raise lacks_operation(source, "EF-tfjs-operation", "TensorFlow.js does not have", found.op, found.name)
    return graph, signature


def _metadata(source: Source, options: TfjsOptions) -> dict[str, Any]:
    fields = {
        "labels": list(source.spec.labels),
        "preprocessing": asdict(source.spec.preprocessing),
        "output": source.output,
        "source_sha256": source.reference.source_sha256,
    }
    # The key that TensorFlow.js reads.
    return fields | ({"structuredOutputKeys": [source.output]} if options.structured_output else {})


def _stored_as(precision: str, weights: Any, graph: Any) -> dict[str, Any] | None:
    """Return which weights are stored in which type, as the converter expects it.

    uint8 quantizes a whole tensor to one range of 256 steps. Depthwise weights lose most by it, since their channels differ by
    orders of magnitude once batch normalisation is folded into them, and biases gain nothing: both stay in float16. On
    EfficientNet-Lite0 agreement is 96.4 % instead of 88.2 %, and the file 4 % larger. With uint16, 65536 steps are enough for
    all weights: float16 for some of them would double the difference.
    """
    if precision == "float32":
        return None
    if precision != "uint8":
        return {precision: True}
    depthwise = {node.input[1] for node in graph.node if "DepthwiseConv2d" in node.op}
    held = [each for group in weights for each in group if each["data"].dtype == "float32"]
    # The converter reads names as glob patterns.
    kept = [glob.escape(each["name"]) for each in held if each["name"] in depthwise or each["data"].ndim < 2]
    return {"float16": kept, "uint8": True} if kept else {"uint8": True}


def conversion() -> Any:
    """Return the converter's module, loaded without the rest of its package.

    Raises:
        EdgeError: tensorflowjs is not installed, or in another version (its private names are used).
    """
    if CONVERSION in sys.modules:
        return sys.modules[CONVERSION]
    spec = importlib.util.find_spec("tensorflowjs")
    if spec is None or not spec.submodule_search_locations:
        raise EdgeError("EF-package-missing", "the Python package tensorflowjs is not installed: `make install` installs it.")
    root = Path(spec.submodule_search_locations[0])
    for name, place in (("tensorflowjs", root), ("tensorflowjs.converters", root / "converters")):
        if name not in sys.modules:
            module = types.ModuleType(name)
            module.__path__ = [str(place)]
            # Without it, importlib.util.find_spec fails for a module that is imported.
            module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
            sys.modules[name] = module
    version = importlib.import_module("tensorflowjs.version").version
    if version != VERSION:
        raise EdgeError("EF-package-version", f"tensorflowjs is {version}; expected {VERSION}, which `make install` installs.")
    with _stubs():
        return importlib.import_module(CONVERSION)


@contextlib.contextmanager
def _stubs() -> Any:
    # Also where they are installed: importing them takes seconds, and needs the TensorFlow version they were built for.
    added = [name for name in UNUSED if name not in sys.modules]
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
    inputs, outputs = (tuple(_tensor(name, info) for name, info in signature[side].items()) for side in ("inputs", "outputs"))
    return inputs, outputs


def _tensor(name: str, info: dict[str, Any]) -> Tensor:
    sizes = [int(size["size"]) for size in info["tensorShape"]["dim"]]
    kind = "float32" if info["dtype"] == "DT_FLOAT" else info["dtype"].removeprefix("DT_").lower()
    return Tensor(name, tuple(None if size < 0 else size for size in sizes), kind)


def _format(precision: str, summary: str, tolerance: Tolerance) -> Format:
    tools = ("tensorflowjs", "tensorflow-cpu", "tensorflow", "keras")
    return Format(
        f"tfjs-{precision}",
        "tfjs",
        summary,
        tolerance,
        partial(write, precision=precision),
        tools,
        options=TfjsOptions,
        precision=precision if precision == "float32" else f"{precision}-weights",
    )


FORMATS = (
    _format(
        "float32",
        "TensorFlow.js graph model",
        Tolerance(1.0, 1e-3, 1e-4, "the same float32 arithmetic in another order; MobileNetV2 differs by 1e-5"),
    ),
    _format(
        "float16",
        "TensorFlow.js, float16 weights",
        Tolerance(
            0.995, 0.03, 0.005, "weights rounded to 11 bits; EfficientNet-Lite0 agrees on 219 of 220 images, differs by 0.007"
        ),
    ),
    _format(
        "uint16",
        "TensorFlow.js, uint16 weights",
        Tolerance(
            0.995,
            0.015,
            0.002,
            "one range of 65536 steps per weight tensor; EfficientNet-Lite0 agrees on all of 220 images, differs by at most "
            "0.0026, 0.0004 on average: a third of float16's difference, at the same size",
            times_explained=1.3,
        ),
    ),
    _format(
        "uint8",
        "TensorFlow.js, uint8 weights",
        Tolerance(
            0.95,
            0.50,
            0.10,
            "one range of 256 steps per weight tensor, depthwise weights and biases in float16; EfficientNet-Lite0 agrees "
            "on 96.4 % of 220 images, differs by at most 0.32, 0.05 on average",
            times_explained=1.3,
        ),
    ),
)
