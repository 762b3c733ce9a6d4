# SPDX-License-Identifier: Apache-2.0
"""What the child process does besides writing formats: it trains, computes the reference, and keeps the model's constants.

Apart from worker.py, so that no artifact follows from this code.
"""

import importlib
from pathlib import Path

from edgeferry.exporters.graph.constants import keep_constants
from edgeferry.exporters.weights.constants import WEIGHTS
from edgeferry.exporters.worker import quieten, source_of
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.golden.reference_writer import make_reference
from edgeferry.models.reference import REFERENCE


def train(spec: ModelSpec) -> None:
    """Train a model that edgeferry itself brings."""
    quieten()
    importlib.import_module(str(spec.trained_by)).train(spec)


def refer(spec: ModelSpec, build: Path) -> None:
    """Compute the reference of a model."""
    quieten()
    make_reference(spec, build / REFERENCE)


def keep(spec: ModelSpec, build: Path, key: str) -> None:
    """Write the constants of the model's graph, which the weights of artifacts are compared with."""
    quieten()
    keep_constants(source_of(spec, build), build / WEIGHTS, key)
