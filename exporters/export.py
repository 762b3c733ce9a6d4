# SPDX-License-Identifier: Apache-2.0
"""Everything asked for, exported: what is still right is kept, the rest is written by a child process.

What is right is known by content: a format's key is the digest of the model, the contract, the options, the tools' versions and
this code; its files are held to the digests in its manifest every time.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from exporters import worker
from exporters.format import Format, choose
from models.artifact import LOG, read_artifact, what_changed
from models.child import Child, ChildError
from models.errors import EdgeError
from models.files import digest, digest_of_code, write_json
from models.reference import Reference, read_reference, reference_key
from models.spec import ModelSpec

SCHEMA: Final = 1
EXPORTS: Final = "exports.json"
NO_IMAGES: Final = "needs data.calibration in the contract: a folder with some 100 to 500 typical images, none of them golden"

State = Literal["written", "kept", "failed", "not run"]
Step = Callable[[str], None]


@dataclass(frozen=True)
class Export:
    """What became of one format, and why."""

    format: str
    state: State
    reason: str


def export_all(spec: ModelSpec, build: Path, names: tuple[str, ...] | None, step: Step) -> tuple[Export, ...]:
    """Return what became of every format asked for; artifacts stand in ``build/<format>/``.

    ``step`` is told what is begun. Formats that fail leave what was there before untouched.

    Raises:
        EdgeError: the model, its images or its contract cannot be used; then nothing was touched.
    """
    chosen = choose(names or spec.formats)
    with Child() as child:
        _train_if_absent(spec, build, child, step)
        reference = _reference(spec, build, child, step)
        exports = [_export(form, spec, build, reference, child, step) for form in chosen]
    found = {"schema": SCHEMA, "formats": [asdict(export) for export in exports]}
    if _told(build / EXPORTS) != found:
        write_json(build / EXPORTS, found)
    return tuple(exports)


def _train_if_absent(spec: ModelSpec, build: Path, child: Child, step: Step) -> None:
    if spec.trained_by is None or spec.model.is_file():
        return
    step(f"training {spec.name}")
    _said(child, spec, lambda log: child.call(worker.train, spec, log=log), build / "train.log")


def _reference(spec: ModelSpec, build: Path, child: Child, step: Step) -> Reference:
    reference, key = read_reference(build / worker.REFERENCE), reference_key(spec)
    if reference is None or reference.key != key:
        step("asking the original about the golden images")
        _said(child, spec, lambda log: child.call(worker.refer, spec, build, log=log), build / "reference.log")
        reference = read_reference(build / worker.REFERENCE)
    if reference is None:
        raise EdgeError(f"{build / worker.REFERENCE}: the reference was written, but cannot be read back.")
    return reference


def _said(child: Child, spec: ModelSpec, call: Callable[[Path], None], log: Path) -> None:
    """Run what everything else needs; an accident there is the end, told in a sentence."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    try:
        call(log)
    except ChildError as error:
        raise EdgeError(f"{spec.model}: {error}") from error


def _export(form: Format, spec: ModelSpec, build: Path, reference: Reference, child: Child, step: Step) -> Export:
    if form.calibrated and reference.calibration_digest is None:
        return Export(form.name, "not run", NO_IMAGES)
    if why := form.missing():
        return Export(form.name, "not run", why)
    versions = {name: found for name in form.tools if (found := _version(name))}
    key = _key(form, spec, build, reference, versions)
    changed = _what_changed(build / form.name, key)
    if changed is None:
        return Export(form.name, "kept", "nothing changed")
    step(f"writing {form.name}")
    log = build / f".{form.name}.log"
    log.unlink(missing_ok=True)
    try:
        child.call(worker.write, spec, build, form.name, key, versions, log=log)
    except (EdgeError, ChildError) as error:
        return Export(form.name, "failed", str(error).replace(str(log), str(build / form.name / LOG)))
    finally:
        if log.is_file():
            (build / form.name).mkdir(exist_ok=True)
            shutil.move(log, build / form.name / LOG)
    return Export(form.name, "written", changed)


def _key(form: Format, spec: ModelSpec, build: Path, reference: Reference, versions: dict[str, str]) -> str:
    parent = read_artifact(build / form.after).sha256 if form.after and (build / form.after / "manifest.json").is_file() else None
    return digest(
        {
            "format": form.name,
            "reference": [reference.key, reference.sha256],
            "options": asdict(spec.options),
            "tolerances": [each for each in spec.tolerances if each[0] == form.name],
            "tools": versions,
            "code": digest_of_code("models", "exporters"),
            "parent": parent,
        }
    )


def _what_changed(folder: Path, key: str) -> str | None:
    try:
        artifact = read_artifact(folder)
    except EdgeError:
        return "not exported before"
    if artifact.key != key:
        return "the model, its contract, an option or a tool changed"
    changed = what_changed(artifact, folder)
    return f"rebuilt: {changed}" if changed else None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _told(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
