# SPDX-License-Identifier: Apache-2.0
"""The frozen graph as an ONNX model, by tf2onnx, and the file that is written of it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.format import Written
from edgeferry.exporters.graph.layers import lacks_operation
from edgeferry.exporters.graph.rewrites.exponentials import SPELLED
from edgeferry.exporters.graph.rewritten import EVERYWHERE, rewritten
from edgeferry.exporters.graph.source import INPUT, Source
from edgeferry.exporters.options import option
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import onnx

FILE: Final = "model.onnx"
TOOLS: Final = ("tf2onnx", "onnx", "tensorflow-cpu", "tensorflow", "keras")
BATCH_AXIS: Final = "batch"


@dataclass(frozen=True)
class OnnxOptions:
    """The options of ONNX files."""

    opset: int = option("the opset of the file, 13 to 18", default=17)


def converted(source: Source, opset: int) -> "onnx.ModelProto":
    """Return the model in float32 with a dynamic, named batch axis.

    Raises:
        EdgeError: tf2onnx does not write the requested opset, or ONNX lacks an operation.
    """
    import tf2onnx

    newest = tf2onnx.constants.PREFERRED_OPSET
    known = range(13, max(newest, 18) + 1)
    if opset not in known:
        raise EdgeError(
            "EF-onnx-opset",
            f"{source.spec.path}: opset in [export.onnx] is {opset}; expected {known[0]} to {known[-1]}, which tf2onnx "
            f"{tf2onnx.__version__} writes.",
        )
    model: onnx.ModelProto = tf2onnx.convert.from_graph_def(
        rewritten(source, *EVERYWHERE, SPELLED).graph_of(None),
        input_names=[f"{INPUT}:0"],
        output_names=[f"{source.output}:0"],
        opset=opset,
    )[0]
    _refuse_unknown(model, source)
    _rename(model, {f"{INPUT}:0": INPUT, f"{source.output}:0": source.output})
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
    return model


def written(
    model: "onnx.ModelProto", source: Source, folder: Path, options: dict[str, Any], notes: tuple[str, ...] = ()
) -> Written:
    """Write a model with labels and preprocessing in its metadata, and return what the file holds; ``options`` are recorded."""
    import onnx

    fields: dict[str, Any] = {
        "labels": list(source.spec.labels),
        "preprocessing": asdict(source.spec.preprocessing),
        "output": source.output,
    }
    fields |= {} if source.spec.threshold is None else {"threshold": source.spec.threshold}
    made_by = {name: value for name in ("author", "licence", "version") if (value := getattr(source.spec.options, name))}
    onnx.helper.set_model_props(model, made_by | {name: json.dumps(value, ensure_ascii=False) for name, value in fields.items()})
    onnx.save(model, folder / FILE)
    read = onnx.load(folder / FILE)
    onnx.checker.check_model(read, full_check=True)
    return Written(FILE, _tensors(read.graph.input), _tensors(read.graph.output), notes, options)


def _refuse_unknown(model: "onnx.ModelProto", source: Source) -> None:
    """Refuse a file with operations of TensorFlow that tf2onnx left as they are.

    Raises:
        EdgeError: names the first of them and its layer.
    """
    import onnx

    for node in model.graph.node:
        if not node.domain and not onnx.defs.has(node.op_type):
            raise lacks_operation(source, "EF-onnx-operation", "ONNX does not have", node.op_type, node.name)


def _rename(model: "onnx.ModelProto", names: dict[str, str]) -> None:
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for tensor in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        tensor.name = names.get(tensor.name, tensor.name)


def _tensors(values: Any) -> tuple[Tensor, ...]:
    import onnx

    return tuple(
        Tensor(
            value.name,
            tuple(None if size.dim_param else size.dim_value for size in value.type.tensor_type.shape.dim),
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
        )
        for value in values
    )
