# SPDX-License-Identifier: Apache-2.0
"""ONNX in float32."""

from dataclasses import asdict
from pathlib import Path

from edgeferry.exporters.format import WITH_AUTHOR, Format, Written
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.onnx.conversion import TOOLS, OnnxOptions, converted, written
from edgeferry.models.artifact import Tolerance


def write(source: Source, folder: Path, options: OnnxOptions = OnnxOptions()) -> Written:
    """Write the model as tf2onnx converts it.

    Raises:
        EdgeError: it cannot be converted; says why.
    """
    return written(converted(source, options.opset), source, folder, asdict(options))


FORMATS = (
    Format(
        "onnx-float32",
        "onnx",
        "ONNX, float32, any batch size",
        Tolerance(1.0, 1e-3, 1e-4, "the same float32 arithmetic in another order; EfficientNet-Lite0 differs by 3e-6"),
        write,
        TOOLS,
        options=OnnxOptions,
        uses=WITH_AUTHOR,
        precision="float32",
    ),
)
