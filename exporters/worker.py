# SPDX-License-Identifier: Apache-2.0
"""What the child process does: it imports TensorFlow once and writes one format after another."""

import gc
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgeferry.exporters.format import formats, precision_of, tolerance_of, write_format
from edgeferry.exporters.graph.source import Source, read_source
from edgeferry.models.artifact import Artifact, files_of, write_manifest
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.exports import set_by_config
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.files import digest, whole_folder


def quieten() -> None:
    """Keep TensorFlow from filling the logs, and from a GPU that a conversion does not need."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def write(spec: ModelSpec, build: Path, name: str, made_from: dict[str, Any]) -> None:
    """Write one format with its manifest, whole or not at all; ``made_from`` is what it follows from."""
    quieten()
    write_source(source_of(spec, build), build, name, made_from)


def write_source(source: Source, build: Path, name: str, made_from: dict[str, Any]) -> None:
    """Write one format of a frozen classifier with its manifest."""
    form, spec = formats()[name], source.spec
    with whole_folder(build / name) as place:
        written = write_format(form, source, place)
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
            tolerance=tolerance_of(form, set_by_config(spec).get(name, {}), spec.path.name),
            files=files_of(place),
            key=digest(made_from),
            made_from=made_from,
            tool_versions=made_from["tools"],
            options={**made_from["options"], **written.options},
            calibration_digest=source.reference.calibration_digest if form.calibrated else None,
            notes=(*source.notes, *written.notes) if "fold_batchnorm" in form.uses else written.notes,
            precision=precision_of(form, spec),
            threshold=spec.threshold,
        )
        write_manifest(artifact, place)


@lru_cache(maxsize=1)
def source_of(spec: ModelSpec, build: Path) -> Source:
    """Return the frozen classifier of a build folder, made once per process."""
    source = read_source(spec, build / REFERENCE)
    # coremltools collects garbage at every conversion: what TensorFlow and Keras have loaded is not looked through each time.
    gc.collect()
    gc.freeze()
    return source
