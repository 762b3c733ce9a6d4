# SPDX-License-Identifier: Apache-2.0
"""TensorFlow SavedModel with one named signature."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.exporters.format import Format, Written
from edgeferry.exporters.graph.groups import notes_on, without_groups
from edgeferry.exporters.graph.source import INPUT, Source
from edgeferry.models.artifact import Tensor, Tolerance

if TYPE_CHECKING:
    import tensorflow as tf

SIGNATURE: Final = "serving_default"
ASSETS: Final = "labels.txt"


def write(source: Source, folder: Path) -> Written:
    """Write the frozen graph as ``serving_default``: input ``image``, output ``probabilities`` or ``logits``, any batch size."""
    import tensorflow as tf

    # TensorFlow fuses a grouped convolution with the activation after it, and then cannot run it.
    ungrouped, groups = without_groups(source)
    run = ungrouped.function(None)
    image = tf.TensorSpec((None, *source.shape), tf.float32, name=INPUT)
    module = tf.Module()
    module.serve = tf.function(lambda image: {source.output: run(image)[source.output]}, input_signature=[image])
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
    read = tf.saved_model.load(str(folder)).signatures[SIGNATURE]
    return Written(
        "saved_model.pb",
        tuple(_tensor(name, spec) for name, spec in read.structured_input_signature[1].items()),
        tuple(_tensor(name, spec) for name, spec in read.structured_outputs.items()),
        options={"signature": SIGNATURE},
        notes=notes_on(groups),
    )


def _tensor(name: str, spec: "tf.TensorSpec") -> Tensor:
    return Tensor(name, tuple(spec.shape), spec.dtype.name)


FORMATS = (
    Format(
        "savedmodel",
        "savedmodel",
        "TensorFlow SavedModel, one named signature",
        Tolerance(1.0, 1e-3, 1e-4, "the same float32 arithmetic, batch normalisation folded"),
        write,
        ("tensorflow-cpu", "tensorflow", "keras"),
        precision="float32",
    ),
)
