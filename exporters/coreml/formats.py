# SPDX-License-Identifier: Apache-2.0
"""Core ML ML Programs for Apple devices from the A14 on: image input, class label and probabilities as outputs.

The other formats start from the float16 program, which is converted once per process: weights in int8, palettized weights, and
the same program with array input and output, the only kind that coremltools' runner on a phone supports.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.coreml.arrays import with_arrays
from edgeferry.exporters.coreml.compression import INT8, PALETTE4, PALETTE6, Compression, compressed
from edgeferry.exporters.coreml.conversion import FLOAT16, FLOAT32, converted
from edgeferry.exporters.coreml.package import check_weights, read_arrays, read_image_and_labels
from edgeferry.exporters.format import WITH_AUTHOR, Format, Written
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.options import option
from edgeferry.models.artifact import Tolerance
from edgeferry.models.decision import without_logits
from edgeferry.models.system.errors import EdgeError

PACKAGE: Final = "model.mlpackage"
# A14 devices were launched with iOS 14 and run much newer systems; iOS 13 and 14 do not support ML Programs.
TARGETS: Final = ("iOS15", "iOS16", "iOS17", "iOS18")
LOWEST: Final = "iOS15"
# iOS 15 does not support compressed weights in ML Programs; coremltools refuses to write them for it.
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
    """Write an ML Program in a precision, with the preprocessing in its image input, and read it back.

    Raises:
        EdgeError: the deployment target cannot run it, a layer cannot be converted, or the package lacks its weights or labels.
    """
    target = _target(source, options, LOWEST, f"coreml-{precision}")
    package = _saved(converted(source, precision, target), source, folder)
    check_weights(source, package, 2 if precision == FLOAT16 else 4)
    return _written(source, package, {"deployment_target": target, "precision": precision})


def write_compressed(source: Source, folder: Path, options: CoremlOptions, how: Compression) -> Written:
    """Write the float16 program with its large weights compressed.

    Raises:
        EdgeError: the deployment target does not support compressed weights, or no weight is large enough to compress.
    """
    target = _target(source, options, LOWEST_COMPRESSED, f"coreml-{how.name}")
    package = _saved(compressed(converted(source, FLOAT16, target), how), source, folder)
    notes = how.check(package)
    record = {"deployment_target": target, "precision": "float16", "weights": how.summary}
    return _written(source, package, record, notes)


def write_arrays(source: Source, folder: Path, options: CoremlOptions = CoremlOptions()) -> Written:
    """Write the float16 program with an array of pixels as input and an array of probabilities as output, without labels."""
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
    note = "for measurements on a phone, whose runner supports arrays only: coreml-float16's program without class labels"
    return Written(PACKAGE, inputs, outputs, (note,), record, without_logits(source.output))


def _target(source: Source, options: CoremlOptions, lowest: str, name: str) -> str:
    target = options.target
    if TARGETS.index(target) < TARGETS.index(lowest):
        raise EdgeError(
            "EF-coreml-target",
            f"{source.spec.path}: target in [export.coreml] is {target!r}, and {name} needs {lowest}: {target} does not "
            f'support compressed weights in ML Programs. Set target = "{lowest}", or remove {name} from export.formats.',
        )
    return target


def _saved(model: Any, source: Source, folder: Path) -> Path:
    """Save a package with a description for people and metadata for programs; return its path."""
    spec, options = source.spec, source.spec.options
    model.short_description = f"{spec.name}, exported by edgeferry"
    model.author, model.license, model.version = options.author, options.licence, options.version
    fields = {"source_sha256": source.reference.source_sha256, "preprocessing": json.dumps(asdict(spec.preprocessing))}
    model.user_defined_metadata.update(fields)
    model.save(str(folder / PACKAGE))
    return folder / PACKAGE


def _written(source: Source, package: Path, options: dict[str, Any], notes: tuple[str, ...] = ()) -> Written:
    inputs, outputs, version = read_image_and_labels(source, package)
    return Written(PACKAGE, inputs, outputs, notes, options | {"specification": version}, without_logits(source.output))


FORMATS = (
    Format(
        "coreml-float16",
        "coreml",
        "Core ML ML Program, float16, image input, class labels",
        Tolerance(0.99, 0.05, 0.01, "weights and activations rounded to 11 bits, computed in any order", times_explained=1.6),
        write,
        TOOLS,
        options=CoremlOptions,
        uses=WITH_AUTHOR,
        precision="float16",
    ),
    Format(
        "coreml-float32",
        "coreml",
        "Core ML ML Program, float32, image input, class labels: exact, but not on the Neural Engine",
        Tolerance(1.0, 1e-3, 1e-4, "the same float32 arithmetic in another order; EfficientNet-Lite0 differs by 4e-6"),
        partial(write, precision=FLOAT32),
        TOOLS,
        options=CoremlOptions,
        uses=WITH_AUTHOR,
        precision="float32",
    ),
    Format(
        "coreml-int8",
        "coreml",
        "Core ML ML Program, int8 weights with per-channel scales, computed in float16; needs iOS 16",
        Tolerance(0.98, 0.25, 0.03, "8-bit per-channel weights; EfficientNet-Lite0 differs by 0.11, 0.016 on average"),
        partial(write_compressed, how=INT8),
        TOOLS,
        options=CoremlOptions,
        uses=WITH_AUTHOR,
        precision="int8-weights",
    ),
    Format(
        "coreml-palettized6",
        "coreml",
        "Core ML ML Program, 6-bit palettized weights, computed in float16; needs iOS 16",
        Tolerance(0.95, 0.4, 0.1, "64 weight values per layer; EfficientNet-Lite0 differs by 0.33, 0.07 on average", 0.01, 2),
        partial(write_compressed, how=PALETTE6),
        (*TOOLS, "scikit-learn"),
        options=CoremlOptions,
        uses=WITH_AUTHOR,
        precision="palettized-6",
    ),
    Format(
        "coreml-palettized4",
        "coreml",
        "Core ML ML Program, 4-bit palettized weights, computed in float16; needs iOS 16",
        # EfficientNet-Lite0 fails here: only 15 % of its predictions stay the same. The tolerance is not meant to allow that.
        Tolerance(
            0.95,
            0.6,
            0.05,
            "16 weight values per layer; the default classifier differs by 0.49, 0.017 on average",
            times_explained=3,
        ),
        partial(write_compressed, how=PALETTE4),
        (*TOOLS, "scikit-learn"),
        options=CoremlOptions,
        uses=WITH_AUTHOR,
        precision="palettized-4",
        by_default=False,
    ),
    Format(
        "coreml-arrays",
        "coreml",
        "Core ML ML Program, float16, array input and output, for measurements on a phone",
        Tolerance(0.99, 0.05, 0.01, "weights and activations rounded to 11 bits, computed in any order", times_explained=1.6),
        write_arrays,
        TOOLS,
        options=CoremlOptions,
        uses=WITH_AUTHOR,
        precision="float16",
    ),
)
