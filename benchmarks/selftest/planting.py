# SPDX-License-Identifier: Apache-2.0
"""A fault planted in a copy of a real artifact, in a scratch build folder; called in the child process that exports."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.selftest.families.stale import UNSIGNED
from edgeferry.benchmarks.selftest.fault import Fault, faults
from edgeferry.exporters import worker
from edgeferry.exporters.format import formats
from edgeferry.models.artifact import LOG, MANIFEST, Artifact, files_of, read_artifact, write_manifest
from edgeferry.models.config.spec import ModelSpec

# Folders below build/<model>/ that belong to one run, not to the model.
OF_A_RUN: Final = ("runs", "selftest", "fix")


def link_build(build: Path, scratch: Path) -> None:
    """Make a build folder that shares everything with another but its artifacts: the reference above all.

    Its folders are its own, their files are links: writing a file there leaves the other folder as it is.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for path in build.iterdir():
        if path.is_dir() and path.name not in OF_A_RUN and not (path / MANIFEST).exists():
            shutil.copytree(path, scratch / path.name, copy_function=_link)


def _link(path: str, link: str) -> None:
    Path(link).symlink_to(Path(path).resolve())


def plant(spec: ModelSpec, places: tuple[Path, Path], name: str, fault_name: str) -> None:
    """Write a format with a fault into a scratch build folder; ``places`` is the build folder and the scratch one.

    The file is a real one of the format's own exporter, and its manifest is in order, as if the exporter had written it.

    Raises:
        EdgeError: the model or the file has no place for the fault, or the format cannot be written with it.
    """
    worker.quieten()
    build, scratch = places
    fault, honest = faults()[fault_name], read_artifact(build / name)
    parent = formats()[name].after
    if parent is not None:
        _write(spec, places, parent, fault)
    _write(spec, places, name, fault)
    folder = scratch / name
    artifact = read_artifact(folder)
    if fault.source is not None:
        # The fault is in the file, not in what the manifest says of it.
        artifact = replace(artifact, labels=honest.labels, preprocessing=honest.preprocessing, tolerance=honest.tolerance)
    if fault.patch is not None:
        artifact = fault.patch(folder, artifact)
    _sign(folder, artifact, fault)


def _write(spec: ModelSpec, places: tuple[Path, Path], name: str, fault: Fault) -> None:
    build, scratch = places
    shutil.rmtree(scratch / name, ignore_errors=True)
    if fault.source is None:
        shutil.copytree(build / name, scratch / name, ignore=shutil.ignore_patterns(LOG))
        return
    worker.write_source(fault.source(worker.source_of(spec, build)), scratch, name, read_artifact(build / name).made_from)


def _sign(folder: Path, artifact: Artifact, fault: Fault) -> None:
    files = artifact.files if fault.family == UNSIGNED else files_of(folder)
    write_manifest(replace(artifact, files=files), folder)
