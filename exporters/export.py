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

from edgeferry.exporters import worker
from edgeferry.exporters.format import Format, choose
from edgeferry.models.artifact import LOG, MANIFEST, read_artifact, what_changed
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.reference import Reference, read_reference, reference_key
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest, digest_of_code, explain_disk_errors, partial_of, write_json
from edgeferry.models.system.terminal import Step

SCHEMA: Final = 1
EXPORTS: Final = "exports.json"
NO_IMAGES: Final = "needs data.calibration in the contract: a folder with some 100 to 500 typical images, none of them golden"

State = Literal["written", "kept", "failed", "not run"]


@dataclass(frozen=True)
class Export:
    """What became of one format, and why."""

    format: str
    state: State
    reason: str
    rebuilt: bool = False


@dataclass(frozen=True)
class _Work:
    """What stands around every format of one export."""

    spec: ModelSpec
    build: Path
    child: Child
    step: Step


def export_all(spec: ModelSpec, build: Path, names: tuple[str, ...] | None, step: Step) -> tuple[Export, ...]:
    """Return what became of every format asked for; artifacts stand in ``build/<format>/``.

    ``step`` is told what is begun. Formats that fail leave what was there before untouched.

    Raises:
        EdgeError: the model, its images or its contract cannot be used; then nothing was touched.
    """
    chosen = choose(names or _named(spec))
    with Child() as child:
        work = _Work(spec, build, child, step)
        if spec.trained_by is not None and not spec.model.is_file():
            step(f"training {spec.name}")
            _needed(work, worker.train, "train.log", spec)
        reference = _reference(work)
        exports = [_export(form, work, reference) for form in chosen]
    found = {"schema": SCHEMA, "formats": [asdict(export) for export in exports]}
    if _told(build / EXPORTS) != found:
        write_json(build / EXPORTS, found)
    return tuple(exports)


def _named(spec: ModelSpec) -> tuple[str, ...] | None:
    """Return the formats a contract asks for, every format it speaks of being one."""
    try:
        choose((*(spec.formats or ()), *(name for name, _, _ in spec.tolerances)))
    except EdgeError as error:
        raise EdgeError(f"{spec.path}: {error}") from None
    return spec.formats


def _reference(work: _Work) -> Reference:
    folder, key = work.build / worker.REFERENCE, reference_key(work.spec)
    reference = read_reference(folder)
    if reference is None or reference.key != key:
        work.step("asking the original about the golden images")
        _needed(work, worker.refer, "reference.log", work.spec, work.build)
        reference = read_reference(folder)
    if reference is None:
        raise EdgeError(f"{folder}: the reference was written, but cannot be read back.")
    return reference


def _needed(work: _Work, function: Callable[..., None], log: str, *arguments: object) -> None:
    """Run what everything else needs; an accident there is the end, told in a sentence."""
    place = work.build / log
    with explain_disk_errors(work.build):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
    try:
        work.child.call(function, *arguments, log=place)
    except ChildError as error:
        raise EdgeError(f"{work.spec.model}: {error}") from error


def _export(form: Format, work: _Work, reference: Reference) -> Export:
    if form.calibrated and reference.calibration_digest is None:
        return Export(form.name, "not run", NO_IMAGES)
    if why := form.missing():
        return Export(form.name, "not run", why)
    versions = {name: found for name in form.tools if (found := _version(name))}
    key = _key(form, work, reference, versions)
    changed = _what_changed(work.build / form.name, key)
    if changed is None:
        return Export(form.name, "kept", "nothing changed")
    work.step(f"writing {form.name}")
    problem = _written(form, work, key, versions)
    if problem:
        return Export(form.name, "failed", problem)
    return Export(form.name, "written", changed.reason, rebuilt=changed.rebuilt)


def _written(form: Format, work: _Work, key: str, versions: dict[str, str]) -> str:
    """Write one format; return what went wrong, or nothing."""
    folder, log = work.build / form.name, work.build / f".{form.name}.log"
    log.unlink(missing_ok=True)
    try:
        work.child.call(worker.write, work.spec, work.build, form.name, key, versions, log=log)
    except (EdgeError, ChildError) as error:
        return str(error).replace(str(log), str(folder / LOG))
    finally:
        # A process that was killed could not tidy up after itself.
        shutil.rmtree(partial_of(folder), ignore_errors=True)
        if log.is_file():
            with explain_disk_errors(folder):
                folder.mkdir(exist_ok=True)
                log.replace(folder / LOG)
    return ""


def _key(form: Format, work: _Work, reference: Reference, versions: dict[str, str]) -> str:
    parent = work.build / form.after if form.after else None
    return digest(
        {
            "format": form.name,
            "reference": [reference.key, reference.sha256],
            "options": asdict(work.spec.options),
            "tolerances": [each for each in work.spec.tolerances if each[0] == form.name],
            "tools": versions,
            "program": form.identity(),
            "code": digest_of_code("models", "exporters"),
            "parent": read_artifact(parent).sha256 if parent and (parent / MANIFEST).is_file() else None,
        }
    )


@dataclass(frozen=True)
class _Change:
    """Why an artifact is written; ``rebuilt`` where its files are not those that were exported."""

    reason: str
    rebuilt: bool = False


def _what_changed(folder: Path, key: str) -> _Change | None:
    try:
        artifact = read_artifact(folder)
    except EdgeError:
        return _Change("not exported before")
    if artifact.key != key:
        return _Change("the model, its contract, an option or a tool changed")
    changed = what_changed(artifact, folder)
    return _Change(f"rebuilt: {changed}", rebuilt=True) if changed else None


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
