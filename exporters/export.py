# SPDX-License-Identifier: Apache-2.0
"""Every format selected, exported: what is still right is kept, the rest is written by a child process.

What is right is known by content: a format's key is the digest of what it was made from, which is the model, the reference, the
parts of the config and the options it uses, its tools' versions, the artifact it starts from, and the sources of the modules that
write it. The manifest keeps these, so that a stale artifact can say what changed; its files are checked against their digests.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.baselines import Work, keep_constants, keep_yardsticks, simulated_beside
from edgeferry.exporters.format import Format, check_options, choose, options_of
from edgeferry.models.artifact import LOG, MANIFEST, Artifact, read_artifact, what_changed
from edgeferry.models.config.locate import config_of_same_name
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.exports import Export, Exports, known_exports, record_manifest, set_by_config, write_exports
from edgeferry.models.reference import (
    REFERENCE,
    Reference,
    read_reference,
    reference_fields,
    reference_key,
    written_by_older_release,
)
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.digests import INDEX, Digests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest, explain_disk_errors, sweep
from edgeferry.models.system.packages import installed_version
from edgeferry.models.system.terminal import Step
from edgeferry.models.yardstick import YARDSTICK

WORKER: Final = "edgeferry.exporters.worker"
# The kind of artifact that is the model's own file.
KERAS: Final = "keras"
NO_KERAS_FILE: Final = "the model is a SavedModel folder, not a file of Keras"
NO_IMAGES: Final = "needs data.calibration in the config: a folder with some 100 to 500 typical images, none of them golden"

# The states of a format whose artifact is there.
THERE: Final = ("written", "kept")


@dataclass(frozen=True)
class _Plan:
    """A format that will be written: what it is made from, and why it is written."""

    form: Format
    made_from: dict[str, Any]
    reason: str
    rebuilt: bool = False


def export_all(spec: ModelSpec, build: Path, names: tuple[str, ...] | None, step: Step) -> tuple[Export, ...]:
    """Return what became of every format selected; artifacts are in ``build/<format>/``.

    ``step`` is called with what is begun. Formats that fail leave what was there before untouched.

    Raises:
        EdgeError: the model, its images or its config cannot be used; then nothing was touched.
    """
    chosen = choose(names or _named(spec))
    check_options(spec)
    with Child(network=False, with_keras=True) as child, Digests(build / INDEX) as digests:
        work = Work(spec, build, child, step, digests.sha256, CodeDigests(digests.sha256), known_exports(build))
        _refuse_other_config(work)
        if spec.trained_by is not None and not spec.model.is_file():
            from edgeferry.exporters import preparation

            step(f"training {spec.name}")
            _needed(work, preparation.train, "train.log", spec)
        reference = _reference(work)
        calibrated = reference.calibration_digest is not None
        able = [form for form in chosen if not form.missing() and (calibrated or not form.calibrated)]
        with simulated_beside(work, able, reference):
            exports = _exports(work, chosen, reference)
        there = [form for form, export in zip(chosen, exports, strict=True) if export.state in THERE]
        if there:
            keep_constants(work, reference)
            keep_yardsticks(work, there, reference)
    _record(work, exports, partial=names is not None)
    return exports


def _record(work: Work, exports: tuple[Export, ...], *, partial: bool) -> None:
    """Write what became of the formats; after a partial export those that were not selected stay recorded."""
    done = {export.format for export in exports}
    others = [each for each in work.known.formats if each.format not in done and (work.build / each.format).is_dir()]
    manifests = known_exports(work.build).manifests
    there = {name: sha256 for name, sha256 in manifests.items() if (work.build / name / MANIFEST).is_file()}
    write_exports(work.build, Exports((*exports, *(others if partial else ())), there, set_by_config(work.spec)))


def _named(spec: ModelSpec) -> tuple[str, ...] | None:
    """Return the formats a config selects, every format it names being one."""
    try:
        choose((*(spec.formats or ()), *(name for name, _, _ in spec.tolerances)))
    except EdgeError as error:
        raise EdgeError(error.code, f"{spec.path}: {error}") from None
    return spec.formats


def _refuse_other_config(work: Work) -> None:
    """Refuse to write over the artifacts of another config with the same name, as long as that config is there."""
    made_from = config_of_same_name(work.spec, reference_fields(work.build / REFERENCE).get("config"))
    if made_from is not None:
        raise EdgeError(
            "EF-name-taken",
            f"{work.build} holds the artifacts of {made_from}, and {work.spec.path} has the same model.name, {work.spec.name!r}; "
            "change model.name in one of them, or name another folder with --build.",
        )


def _reference(work: Work) -> Reference:
    folder, key = work.build / REFERENCE, reference_key(work.spec, work.sha256)
    reference = read_reference(folder, work.sha256)
    if reference is None or reference.key != key:
        if written_by_older_release(folder):
            work.step(f"{work.build} was written by an older release of edgeferry: everything is exported again")
        # What only a child process runs is imported where there is something to do: an export with nothing to do is quick.
        from edgeferry.exporters import preparation

        work.step("computing the Keras model's predictions for the golden images")
        _needed(work, preparation.refer, "reference.log", work.spec, work.build)
        reference = read_reference(folder, work.sha256)
    if reference is None:
        raise EdgeError("EF-reference-unreadable", f"{folder}: the reference was written, but cannot be read back.")
    return reference


def _exports(work: Work, chosen: tuple[Format, ...], reference: Reference) -> tuple[Export, ...]:
    """Export the formats in the order in which they are made: one that starts from another comes after it."""
    plans = {form.name: _plan(form, work, reference) for form in chosen}
    waiting = {name for name, plan in plans.items() if isinstance(plan, _Plan)}
    able = {name for name, plan in plans.items() if isinstance(plan, _Plan) or plan.state == "kept"}
    total = len(waiting | {form.name for form in chosen if form.after in waiting and form.name in able})
    found: list[Export] = []
    number = 0
    for form in chosen:
        plan = _plan(form, work, reference) if form.after in waiting else plans[form.name]
        if isinstance(plan, _Plan):
            number += 1
            work.step(f"exporting {form.name}", number, total)
            plan = _written(plan, work)
        found.append(plan)
    return tuple(found)


def _needed(work: Work, function: Callable[..., None], log: str, *arguments: object) -> None:
    """Run what everything else needs; a failure there ends the export, with one sentence."""
    place = work.build / log
    with explain_disk_errors(work.build):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
    try:
        work.child.call(function, *arguments, log=place)
    except ChildError as error:
        raise EdgeError("EF-child-failed", f"{work.spec.model}: {error}") from error


def _plan(form: Format, work: Work, reference: Reference) -> Export | _Plan:
    """Return how a format will be written, or what became of it already."""
    if form.calibrated and reference.calibration_digest is None:
        return Export(form.name, "not run", NO_IMAGES)
    if why := NO_KERAS_FILE if form.kind == KERAS and work.spec.model.is_dir() else form.missing():
        return Export(form.name, "not run", why)
    made_from = _made_from(form, work, reference)
    folder = work.build / form.name
    try:
        artifact = read_artifact(folder)
    except EdgeError as error:
        absent = error.code == "EF-manifest-missing"
        return _Plan(form, made_from, "not exported before" if absent else "exported by another release of edgeferry")
    if artifact.key != digest(made_from):
        return _Plan(form, made_from, "; ".join(_changes(artifact.made_from, made_from)))
    if changed := _tampered(artifact, folder, work):
        return _Plan(form, made_from, f"rebuilt: {changed}", rebuilt=True)
    return Export(form.name, "kept", "nothing changed")


def _tampered(artifact: Artifact, folder: Path, work: Work) -> str | None:
    """Return what is no longer as it was exported, the manifest or a file, or None."""
    try:
        work.known.refuse_other_manifest(folder, work.sha256)
    except EdgeError as error:
        return str(error)
    return what_changed(artifact, folder, work.sha256)


def _written(plan: _Plan, work: Work) -> Export:
    """Write one format."""
    from edgeferry.exporters import worker

    name = plan.form.name
    folder, log = work.build / name, work.build / f".{name}.log"
    log.unlink(missing_ok=True)
    try:
        work.child.call(worker.write, work.spec, work.build, name, plan.made_from, log=log)
        record_manifest(work.build, name)
    except (EdgeError, ChildError) as error:
        code = error.code if isinstance(error, EdgeError) else None
        return Export(name, "failed", str(error).replace(str(log), str(folder / LOG)), code=code)
    finally:
        if log.is_file():
            with explain_disk_errors(folder):
                folder.mkdir(exist_ok=True)
                log.replace(folder / LOG)
        # A process that was killed could not tidy up after itself; another may be writing yardsticks.
        sweep(work.build, spared=YARDSTICK)
    return Export(name, "written", plan.reason, plan.rebuilt)


def _made_from(form: Format, work: Work, reference: Reference) -> dict[str, Any]:
    """Return everything that a format's files follow from, by the names that a user knows."""
    spec, shared = work.spec, asdict(work.spec.options)
    versions = {name: found for name in form.tools if (found := installed_version(name))}
    # The reference's digests are those of today's config: it would have been made again otherwise.
    config = {key: value for key, value in reference.config_digests.items() if key != "data.calibration" or form.calibrated}
    return {
        "model.file": reference.source_sha256,
        **config,
        "reference": reference.sha256,
        "options": {**{name: shared[name] for name in sorted(form.uses)}, **_as_json(options_of(form, spec))},
        "tolerance": {key: value for name, key, value in spec.tolerances if name == form.name},
        "tools": versions,
        "program": form.identity(),
        "parent": _sha256_of(work.build / form.after) if form.after else None,
        "code": work.code.of(form.module, WORKER),
    }


def _sha256_of(folder: Path) -> str | None:
    """Return the digest of an artifact, or None where there is none of this release."""
    try:
        return read_artifact(folder).sha256
    except EdgeError:
        return None


def _as_json(options: Any) -> dict[str, Any]:
    """Return options as they come back from a manifest, so that the two can be compared."""
    return dict(json.loads(json.dumps(asdict(options))))


WHAT: Final = {
    "model.file": "the model",
    "reference": "the Keras model's predictions",
    "program": "the program that writes it",
    "parent": "the artifact it starts from",
    "code": "the edgeferry code that writes it",
}


def _changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yield what changed between two records of what an artifact was made from."""
    for key in {**before, **now}:
        was, value = before.get(key), now.get(key)
        if was == value:
            continue
        if isinstance(was, dict) and isinstance(value, dict):
            names = [name for name in {**was, **value} if was.get(name) != value.get(name)]
            yield from (f"{_singular(key)}{name}: {was.get(name, 'unset')} -> {value.get(name, 'unset')}" for name in names)
        else:
            yield f"{WHAT.get(key, key)} changed"


def _singular(key: str) -> str:
    return {"options": "option ", "tolerance": "tolerance "}.get(key, "")
