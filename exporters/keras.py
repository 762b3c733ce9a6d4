# SPDX-License-Identifier: Apache-2.0
"""The Keras model, copied: ``build/<model>/`` is complete when copied elsewhere, and the model is measured like the rest."""

import shutil
from pathlib import Path

from edgeferry.exporters.format import Format, Written
from edgeferry.exporters.graph.source import INPUT, Source
from edgeferry.models.artifact import Tensor, Tolerance


def copy(source: Source, folder: Path) -> Written:
    """Copy the model's file, byte for byte."""
    name = f"model{source.spec.model.suffix}"
    shutil.copyfile(source.spec.model, folder / name)
    shape, classes = (None, *source.shape), (None, source.classes)
    return Written(name, (Tensor(INPUT, shape, "float32"),), (Tensor(source.output, classes, "float32"),))


FORMATS = (
    Format(
        "keras",
        "keras",
        "the Keras model, copied",
        Tolerance(1.0, 1e-4, 1e-5, "the same file and framework, in another process"),
        copy,
        ("keras",),
        uses=frozenset(),
        precision="float32",
    ),
)
