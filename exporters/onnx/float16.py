# SPDX-License-Identifier: Apache-2.0
"""ONNX in float16 between a float32 input and a float32 output, by ONNX Runtime's tools."""

from dataclasses import asdict
from pathlib import Path
from typing import Final

from edgeferry.exporters.format import WITH_AUTHOR, Format, Written
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.onnx.conversion import TOOLS, OnnxOptions, converted, written
from edgeferry.models.artifact import Tolerance

# Operations that ONNX has for no float16, beside those that ONNX Runtime's list names.
WITHOUT_FLOAT16: Final = ("IsInf",)


def write(source: Source, folder: Path, options: OnnxOptions = OnnxOptions()) -> Written:
    """Write weights and computations in float16: half the size; a GPU computes in it, a CPU with float32 kernels.

    Raises:
        EdgeError: it cannot be converted; says why.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    left = [*DEFAULT_OP_BLOCK_LIST, *WITHOUT_FLOAT16]
    halved = OnnxModel(convert_float_to_float16(converted(source, options.opset), keep_io_types=True, op_block_list=left))
    # The conversion of the input is put last.
    halved.topological_sort()
    return written(halved.model, source, folder, asdict(options))


FORMATS = (
    Format(
        "onnx-float16",
        "onnx",
        "ONNX, float16 between float32 input and output, any batch size",
        Tolerance(0.99, 0.05, 0.01, "weights and activations rounded to 11 bits, computed in any order", times_explained=1.6),
        write,
        (*TOOLS, "onnxruntime", "onnxruntime-gpu"),
        options=OnnxOptions,
        uses=WITH_AUTHOR,
        precision="float16",
    ),
)
