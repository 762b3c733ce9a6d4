# SPDX-License-Identifier: Apache-2.0
"""A container that serves the classifier over HTTP: all that `docker build` needs, beside the ONNX file it serves."""

import shutil
from pathlib import Path
from typing import Final

from edgeferry.exporters.deployment.description import Served
from edgeferry.exporters.deployment.manifests import FOLDER, write_manifests
from edgeferry.exporters.deployment.sbom import sbom
from edgeferry.exporters.format import Format, Written
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.onnx.conversion import FILE as ONNX_FILE
from edgeferry.exporters.readers.onnx import read_onnx
from edgeferry.models.artifact import Tolerance
from edgeferry.models.decision import without_logits
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest_of_files, sha256_of, write_whole
from edgeferry.models.system.places import PACKAGE_FILE, ROOT

PARENT: Final = "onnx-float32"
BUILD: Final = ROOT / "exporters" / "endpoint"
# Modules that stand in the container as they stand here, so that the same lines import the same modules.
PROGRAM: Final = (
    "exporters/__init__.py",
    *sorted(f"exporters/endpoint/{module.name}" for module in BUILD.glob("*.py")),
    "models/__init__.py",
    "models/protocol/__init__.py",
    "models/protocol/open_inference_pb2.py",
    "models/preprocessing.py",
    "models/decision.py",
    "models/system/__init__.py",
    "models/system/cores.py",
    "models/system/errors.py",
    "models/tf_resize.py",
)
PACKAGE: Final = "edgeferry"
DOCKERFILE: Final = "Dockerfile"
REQUIREMENTS: Final = "requirements.txt"
SBOM: Final = "sbom.cdx.json"
# What the Dockerfile calls the file it serves, and its digest.
PLACEHOLDER: Final = "MODEL.onnx"
DIGEST: Final = "SHA256_OF_MODEL"


def write(source: Source, folder: Path) -> Written:
    """Write the build context of the container: Dockerfile, pinned requirements, the program, and the ONNX file beside this one.

    Manifests for where it runs are beside it, in a folder that is not copied into the image.

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
    digest = sha256_of(folder / model)
    dockerfile = (BUILD / DOCKERFILE).read_text(encoding="utf-8")
    write_whole(folder / DOCKERFILE, dockerfile.replace(PLACEHOLDER, model).replace(DIGEST, digest))
    described = Served(source.spec.name, digest)
    write_manifests(described, folder / FOLDER)
    write_whole(folder / SBOM, sbom(described, (BUILD / REQUIREMENTS).read_text(encoding="utf-8")))
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
