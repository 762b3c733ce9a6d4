# SPDX-License-Identifier: Apache-2.0
"""A model package on disk: its manifest, its specification and its weight file.

Source: coremltools 9.0, modelpackage/src/ModelPackage.cpp (the manifest) and MLModel's MIL.proto (the specification).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.models.coreml_messages import enum_name, messages
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.limits import damage
from edgeferry.targets.target import Unsupported

MANIFEST: Final = "Manifest.json"
DATA: Final = "Data"
MAIN: Final = "main"
# coremltools writes some 700 bytes.
LARGEST_MANIFEST: Final = 2**20
# iOS 15 to iOS 26: coremltools 9.0's specification versions, and its names of their operation sets.
VERSIONS: Final = range(6, 11)
OPERATION_SETS: Final = ("CoreML5", "CoreML6", "CoreML7", "CoreML8", "CoreML9")
# Core ML's own limit on a protobuf message.
LARGEST_SPECIFICATION: Final = 2**31 - 1


@dataclass(frozen=True)
class ImageInput:
    """An image input: its name, size and colour space, "RGB", "BGR" or "GRAYSCALE"."""

    name: str
    height: int
    width: int
    colour_space: str


@dataclass(frozen=True)
class ModelPackage:
    """A package's specification, and the folder that paths to weights start from."""

    specification: Any
    model_folder: Path

    @property
    def block(self) -> Any:
        """Return the main function's block, for the operation set that the function names.

        Raises:
            Unsupported: it is not an ML Program, or has no such function.
        """
        if self.specification.WhichOneof("Type") != "mlProgram":
            raise Unsupported(
                "EF-mlprogram-missing",
                "the package holds another type of model than an ML Program, which the evaluator does not support",
            )
        version = self.specification.specificationVersion
        if version not in VERSIONS:
            raise Unsupported(
                "EF-mlprogram-version",
                f"the package has specification version {version}; the evaluator supports {VERSIONS[0]} to {VERSIONS[-1]}",
            )
        functions = self.specification.mlProgram.functions
        if MAIN not in functions or functions[MAIN].opset not in functions[MAIN].block_specializations:
            raise Unsupported("EF-mlprogram-function", f"the ML Program has no function {MAIN!r} for the operation set it names")
        if functions[MAIN].opset not in OPERATION_SETS:
            known = ", ".join(OPERATION_SETS)
            found = functions[MAIN].opset
            raise Unsupported(
                "EF-mlprogram-version", f"the ML Program has the operation set {found!r}; the evaluator supports {known}"
            )
        return functions[MAIN].block_specializations[functions[MAIN].opset]

    @property
    def inputs(self) -> Any:
        """Return the main function's inputs, each with its name and type."""
        return self.specification.mlProgram.functions[MAIN].inputs

    @property
    def takes_array(self) -> bool:
        """Return whether the one input is an array of pixels, [1, channels, height, width], and no image."""
        described = self.specification.description.input
        return len(described) == 1 and described[0].type.WhichOneof("Type") == "multiArrayType"

    @property
    def image(self) -> ImageInput:
        """Return the one image that the model takes.

        Raises:
            Unsupported: it takes another input.
        """
        described = self.specification.description.input
        if len(described) != 1 or described[0].type.WhichOneof("Type") != "imageType":
            raise Unsupported(
                "EF-coreml-inputs", "the package does not take one image, the only input that the evaluator supports"
            )
        declared = described[0].type.imageType
        return ImageInput(described[0].name, declared.height, declared.width, enum_name(declared, "colorSpace"))

    @property
    def probabilities(self) -> str:
        """Return the name of the output that maps each label to its probability."""
        return str(self.specification.description.predictedProbabilitiesName)


def open_package(path: Path) -> ModelPackage:
    """Return a package read from disk.

    Raises:
        EdgeError: it is not a package, its manifest or specification is missing or damaged, or coremltools is not installed.
    """
    file = path / DATA / _root(path)
    with damage("manifest"):
        found = file.is_file()
    if not found:
        raise EdgeError("EF-mlpackage-incomplete", f"{path} lacks {file.relative_to(path)}, its specification; export it again.")
    if file.stat().st_size > LARGEST_SPECIFICATION:
        size = file.stat().st_size
        raise EdgeError("EF-mlpackage-too-large", f"{file} has {size} bytes; expected at most {LARGEST_SPECIFICATION}.")
    specification = messages().Model()
    try:
        specification.ParseFromString(file.read_bytes())
    except Exception as error:
        # protobuf's own error has no public name that all its versions share.
        raise EdgeError(
            "EF-mlpackage-specification", f"{file} cannot be read as a Core ML specification ({error}); export it again."
        ) from error
    return ModelPackage(specification, file.parent)


def _root(path: Path) -> str:
    """Return the path of the specification, below the package's data folder, that the manifest names."""
    try:
        size = (path / MANIFEST).stat().st_size
        if size > LARGEST_MANIFEST:
            raise EdgeError("EF-mlpackage-too-large", f"{path / MANIFEST} has {size} bytes; expected at most {LARGEST_MANIFEST}.")
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        root = str(manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"])
    except OSError as error:
        raise EdgeError(
            "EF-mlpackage-incomplete", f"{path} is not a model package: {MANIFEST} cannot be read ({error.strerror})."
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"{type(error).__name__}: {str(error)[:160]}"
        raise EdgeError(
            "EF-mlpackage-manifest", f"{path / MANIFEST} cannot be read as a package's manifest ({why}); export it again."
        ) from None
    return inside(root, path)


def inside(name: str, path: Path) -> str:
    """Return a relative path that stays in its folder.

    Raises:
        EdgeError: it is absolute, or leads out of the package.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise EdgeError("EF-mlpackage-path", f"{path} names the file {name!r}, which is outside of the package.")
    return name
