# SPDX-License-Identifier: Apache-2.0
"""What the child process does: it imports TensorFlow once and writes one format after another."""

import importlib
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from edgeferry.exporters.format import Format, formats
from edgeferry.exporters.graph.source import Source, read_source
from edgeferry.models.artifact import Artifact, Tolerance, files_of, write_manifest
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.reference import make_reference
from edgeferry.models.system.files import whole_folder

REFERENCE = "reference"


def quieten() -> None:
    """Keep TensorFlow from filling the logs, and from a GPU that a conversion does not need."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def train(spec: ModelSpec) -> None:
    """Make a model that the project itself trains."""
    quieten()
    importlib.import_module(str(spec.trained_by)).train(spec)


def refer(spec: ModelSpec, build: Path) -> None:
    """Compute the reference of a model."""
    quieten()
    make_reference(spec, build / REFERENCE)


def write(spec: ModelSpec, build: Path, name: str, key: str, tool_versions: dict[str, str]) -> None:
    """Write one format with its manifest, whole or not at all."""
    quieten()
    form = formats()[name]
    source = _source(spec, build)
    with whole_folder(build / name) as place:
        written = form.write(source, place)
        artifact = Artifact(
            format=name,
            kind=form.kind,
            main_file=written.main_file,
            source_sha256=source.reference.source_sha256,
            inputs=written.inputs,
            outputs=written.outputs,
            output=written.output or source.output,
            labels=spec.labels,
            preprocessing=spec.preprocessing,
            tolerance=_tolerance(form, spec),
            files=files_of(place),
            key=key,
            tool_versions=tool_versions,
            options={"fold_batchnorm": spec.options.fold_batchnorm, **written.options},
            calibration_digest=source.reference.calibration_digest if form.calibrated else None,
            notes=(*source.notes, *written.notes) if form.kind != "keras" else written.notes,
        )
        write_manifest(artifact, place)


@lru_cache(maxsize=1)
def _source(spec: ModelSpec, build: Path) -> Source:
    return read_source(spec, build / REFERENCE)


def _tolerance(form: Format, spec: ModelSpec) -> Tolerance:
    own = {key: value for name, key, value in spec.tolerances if name == form.name}
    return replace(form.tolerance, **own, reason=f"set in {spec.path.name}") if own else form.tolerance
