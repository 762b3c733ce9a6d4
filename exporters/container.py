# SPDX-License-Identifier: Apache-2.0
"""A container that serves the classifier over HTTP: all that `docker build` needs, beside the ONNX file it serves."""

import shutil
from pathlib import Path
from typing import Final

from edgeferry.exporters.format import Format, Written
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.onnx import FILE as ONNX_FILE
from edgeferry.exporters.readers.onnx import read_onnx
from edgeferry.models.artifact import Tolerance
from edgeferry.models.decision import without_logits
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest_of_files, write_whole
from edgeferry.models.system.places import PACKAGE_FILE, ROOT

PARENT: Final = "onnx-float32"
# Modules that stand in the container as they stand here, so that the same lines import the same modules.
PROGRAM: Final = (
    "exporters/__init__.py",
    "exporters/endpoint/__init__.py",
    "exporters/endpoint/__main__.py",
    "exporters/endpoint/classifier.py",
    "exporters/endpoint/service.py",
    "models/__init__.py",
    "models/preprocessing.py",
    "models/decision.py",
    "models/system/__init__.py",
    "models/system/cores.py",
    "models/system/errors.py",
    "models/tf_resize.py",
)
PACKAGE: Final = "edgeferry"
BUILD: Final = ROOT / "exporters" / "endpoint"
DOCKERFILE: Final = "Dockerfile"
REQUIREMENTS: Final = "requirements.txt"
# What the Dockerfile calls the file it serves.
PLACEHOLDER: Final = "MODEL.onnx"


def write(source: Source, folder: Path) -> Written:
    """Write the build context of the container: Dockerfile, pinned requirements, the program, and the ONNX file beside this one.

    Raises:
        EdgeError: there is no ONNX file yet.
    """
    parent = folder.parent / PARENT / ONNX_FILE
    if not parent.is_file():
        raise EdgeError(
            "EF-parent-missing", f"{PARENT} is what it serves, and it was not exported; add it to export.formats, or to --format."
        )
    model = f"{source.spec.name}.onnx"
    shutil.copyfile(parent, folder / model)
    for module, file in (("__init__.py", PACKAGE_FILE), *((module, ROOT / module) for module in PROGRAM)):
        (folder / PACKAGE / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / PACKAGE / module)
    shutil.copyfile(BUILD / REQUIREMENTS, folder / REQUIREMENTS)
    write_whole(folder / DOCKERFILE, (BUILD / DOCKERFILE).read_text(encoding="utf-8").replace(PLACEHOLDER, model))
    served = read_onnx(folder / model)
    # The endpoint answers an image with probabilities, whatever the file in it does.
    return Written(model, served.inputs, served.outputs, output=without_logits(source.output))


FORMATS = (
    Format(
        "container-float32",
        "container",
        "what `docker build` makes a container with an HTTP endpoint of, around onnx-float32",
        Tolerance(1.0, 1e-3, 1e-4, "the answers of onnx-float32, which the container serves"),
        write,
        ("tf2onnx", "onnx", "tensorflow-cpu", "tensorflow", "keras"),
        after=PARENT,
        identity=lambda: digest_of_files(
            [BUILD / DOCKERFILE, BUILD / REQUIREMENTS, *(ROOT / module for module in PROGRAM)], ROOT
        ),
        uses=frozenset(),
    ),
)
