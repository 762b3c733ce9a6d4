# SPDX-License-Identifier: Apache-2.0
"""OpenVINO's IR with float16 weights, converted from ONNX by OpenVINO itself, in its own environment."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from edgeferry.exporters.format import WITH_AUTHOR, Format, Written
from edgeferry.exporters.graph.source import Source, without_loops
from edgeferry.exporters.onnx.conversion import FILE as ONNX_FILE
from edgeferry.exporters.onnx.conversion import TOOLS, OnnxOptions, converted, written
from edgeferry.exporters.readers.openvino import read_openvino
from edgeferry.models.artifact import Tolerance
from edgeferry.models.system.environments import OPENVINO
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.subprocesses import run_tool

FILE: Final = "model.xml"
PROGRAM: Final = Path(__file__).with_name("convert_openvino.py")
LONGEST_S: Final = 600.0


def write(source: Source, folder: Path) -> Written:
    """Write ``model.xml`` and ``model.bin``: weights in float16, which a CPU computes with in float32, a GPU in float16.

    Raises:
        EdgeError: OpenVINO cannot read the model.
    """
    with TemporaryDirectory() as place:
        # OpenVINO does not read the loops that tf2onnx writes.
        written(converted(without_loops(source), OnnxOptions().opset), source, Path(place), {})
        # Made absolute without following links: a virtual environment's Python is a link.
        python = str(OPENVINO.python.absolute())
        ended = run_tool([python, "-E", "-s", str(PROGRAM), ONNX_FILE, str(folder.resolve() / FILE)], Path(place), LONGEST_S)
    print(ended.output)  # noqa: T201 - what a converter prints is its log
    if ended.how:
        said = ended.output.strip().splitlines() or ["it printed nothing"]
        raise EdgeError("EF-openvino-conversion", f"OpenVINO's converter {ended.how}: {said[-1]}; see export.log")
    found = read_openvino(folder / FILE)
    return Written(FILE, found.inputs, found.outputs)


FORMATS = (
    Format(
        "openvino-float16",
        "openvino",
        "OpenVINO IR, float16 weights, any batch size",
        Tolerance(
            0.995, 0.03, 0.005, "weights rounded to 11 bits; EfficientNet-Lite0 agrees on 99 of 100 images, differs by 0.007"
        ),
        write,
        TOOLS,
        missing=OPENVINO.missing,
        identity=lambda: " ".join(f"{name} {version}" for name, version in OPENVINO.versions().items()),
        uses=WITH_AUTHOR,
        precision="float16-weights",
    ),
)
