# SPDX-License-Identifier: Apache-2.0
"""Core ML ML Programs for Apple devices from the A14 on: image in, class label and probabilities out.

Three more forms than float16 and float32 start from the float16 program, which is converted once in a process: weights in int8
and in palettes, and the same program with arrays in and out, which is all that coremltools' runner on a phone takes.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.coreml.arrays import with_arrays
from edgeferry.exporters.coreml.compression import INT8, PALETTE4, PALETTE6, Compression, compressed
from edgeferry.exporters.coreml.conversion import FLOAT16, FLOAT32, PROBABILITIES, converted
from edgeferry.exporters.coreml.package import check_weights, read_arrays, read_image_and_labels
from edgeferry.exporters.format import WITH_AUTHOR, Format, Written
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.options import option
from edgeferry.models.artifact import Tolerance
from edgeferry.models.system.errors import EdgeError

PACKAGE: Final = "model.mlpackage"
# A14 devices were launched with iOS 14 and run much newer systems; iOS 13 and 14 know no ML Programs.
TARGETS: Final = ("iOS15", "iOS16", "iOS17", "iOS18")
LOWEST: Final = "iOS15"
# iOS 15 reads no compressed weights in ML Programs; coremltools refuses them below.
LOWEST_COMPRESSED: Final = "iOS16"
TOOLS: Final = ("coremltools", "tensorflow-cpu", "tensorflow", "keras")


@dataclass(frozen=True)
class CoremlOptions:
    """The options of Core ML packages."""

    target: str = option(
        "the oldest system that must run it; ML Programs begin with iOS 15, compressed weights with iOS 16",
        default="iOS16",
        choices=TARGETS,
    )


def write(source: Source, folder: Path, options: CoremlOptions = CoremlOptions(), precision: str = FLOAT16) -> Written:
    """Write an ML Program in a precision whose image input holds the preprocessing, and read it back.

    Raises:
        EdgeError: the deployment target asked for cannot run it, a layer cannot be converted, or the package lacks its weights
            or labels.
    """
    target = _target(source, options, LOWEST, f"coreml-{precision}")
    package = _saved(converted(source, precision, target), source, folder)
    check_weights(source, package, 2 if precision == FLOAT16 else 4)
    return _written(source, package, {"deployment_target": target, "precision": precision})


def write_compressed(source: Source, folder: Path, options: CoremlOptions, how: Compression) -> Written:
    """Write the float16 program with its large weights compressed.

    Raises:
        EdgeError: the deployment target asked for reads no compressed weights, or no weight is large enough for it.
    """
    target = _target(source, options, LOWEST_COMPRESSED, f"coreml-{how.name}")
    package = _saved(compressed(converted(source, FLOAT16, target), how), source, folder)
    told = how.check(package)
    record = {"deployment_target": target, "precision": "float16", "weights": how.summary}
    return _written(source, package, record, told)


def write_arrays(source: Source, folder: Path, options: CoremlOptions = CoremlOptions()) -> Written:
    """Write the float16 program with an array of pixels in and an array of probabilities out, without labels."""
    target = _target(source, options, LOWEST, "coreml-arrays")
    package = _saved(with_arrays(converted(source, FLOAT16, target)), source, folder)
    check_weights(source, package, 2)
    inputs, outputs, version = read_arrays(source, package)
    how = source.spec.preprocessing
    record = {
        "deployment_target": target,
        "precision": "float16",
        "specification": version,
        "input": f"float32 pixels 0 to 255, [1, channels, height, width], {how.colour}; the preprocessing is in the program",
    }
    note = "for measurements on a phone, whose runner takes arrays only: the program of coreml-float16 without its class labels"
    return Written(PACKAGE, inputs, outputs, (note,), record, PROBABILITIES)


def _target(source: Source, options: CoremlOptions, lowest: str, name: str) -> str:
    target = options.target
    if TARGETS.index(target) < TARGETS.index(lowest):
        raise EdgeError(
            "EF-coreml-target",
            f"{source.spec.path}: target in [export.coreml] is {target!r}, and {name} needs {lowest}: {target} reads no "
            f'compressed weights in ML Programs. Set target = "{lowest}", or leave {name} out of export.formats.',
        )
    return target


def _saved(model: Any, source: Source, folder: Path) -> Path:
    """Save a package with what a person and a program ask of it; return where."""
    spec, options = source.spec, source.spec.options
    model.short_description = f"{spec.name}, exported by edgeferry"
    model.author, model.license, model.version = options.author, options.licence, options.version
    told = {"source_sha256": source.reference.source_sha256, "preprocessing": json.dumps(asdict(spec.preprocessing))}
    model.user_defined_metadata.update(told)
    model.save(str(folder / PACKAGE))
    return folder / PACKAGE


def _written(source: Source, package: Path, options: dict[str, Any], notes: tuple[str, ...] = ()) -> Written:
    inputs, outputs, version = read_image_and_labels(source, package)
    return Written(PACKAGE, inputs, outputs, notes, options | {"specification": version}, PROBABILITIES)


FORMATS = (
    Format(
        "coreml-float16",
        "coreml",
        "Core ML ML Program, float16, image input, class labels",
        Tolerance(0.99, 0.05, 0.01, "weights and activations rounded to 11 bits, in whatever order the device computes"),
        write,
        TOOLS,
        options=CoremlOptions,
        uses=WITH_AUTHOR,
    ),
    Format(
        "coreml-float32",
        "coreml",
        "Core ML ML Program, float32, image input, class labels: exact, but not for the Neural Engine",
        Tolerance(1.0, 1e-3, 1e-4, "the same float32 arithmetic in another order; EfficientNet-Lite0 moves by 4e-6"),
        partial(write, precision=FLOAT32),
        TOOLS,
        options=CoremlOptions,
        uses=WITH_AUTHOR,
    ),
    Format(
        "coreml-int8",
        "coreml",
        "Core ML ML Program, weights in int8 with a scale a channel, computed in float16; iOS 16",
        Tolerance(0.98, 0.25, 0.03, "weights rounded to 8 bits a channel; EfficientNet-Lite0 moves by 0.11, 0.016 in the mean"),
        partial(write_compressed, how=INT8),
        TOOLS,
        options=CoremlOptions,
        uses=WITH_AUTHOR,
    ),
    Format(
        "coreml-palettized6",
        "coreml",
        "Core ML ML Program, weights out of 64 values a layer, computed in float16; iOS 16",
        Tolerance(0.95, 0.4, 0.1, "each weight one of 64 values a layer; EfficientNet-Lite0 moves by 0.33, 0.07 in the mean"),
        partial(write_compressed, how=PALETTE6),
        (*TOOLS, "scikit-learn"),
        options=CoremlOptions,
        uses=WITH_AUTHOR,
    ),
    Format(
        "coreml-palettized4",
        "coreml",
        "Core ML ML Program, weights out of 16 values a layer, computed in float16; iOS 16",
        # EfficientNet-Lite0 does not survive it: 15 % of its answers stay the same. That is to be seen, not allowed for.
        Tolerance(0.95, 0.6, 0.05, "each weight one of 16 values a layer; the default classifier moves by 0.49, 0.017 in mean"),
        partial(write_compressed, how=PALETTE4),
        (*TOOLS, "scikit-learn"),
        options=CoremlOptions,
        uses=WITH_AUTHOR,
        by_default=False,
    ),
    Format(
        "coreml-arrays",
        "coreml",
        "Core ML ML Program, float16, arrays in and out, for measurements on a phone",
        Tolerance(0.99, 0.05, 0.01, "weights and activations rounded to 11 bits, in whatever order the device computes"),
        write_arrays,
        TOOLS,
        options=CoremlOptions,
        uses=WITH_AUTHOR,
    ),
)
