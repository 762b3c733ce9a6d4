# SPDX-License-Identifier: Apache-2.0
"""What of a build folder a bundle holds, artifacts, reference, yardsticks and the model's constants, and where it is unpacked."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from edgeferry.models.artifact import EXPORTS, MANIFEST, RANGES, read_artifact, what_changed
from edgeferry.models.bundle.archive import (
    INDEX,
    BundleIndex,
    index_of,
    problem_in,
    read_index,
    unpack,
    write_archive,
)
from edgeferry.models.config.spec import read_spec
from edgeferry.models.exports import SCHEMA as EXPORTS_SCHEMA
from edgeferry.models.exports import Exports, read_exports
from edgeferry.models.reference import CALIBRATION, FACTS, REFERENCE, read_reference, reference_fields
from edgeferry.models.system.digests import INDEX as DIGESTS
from edgeferry.models.system.digests import Digests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import files_below, sha256_of, write_json

YARDSTICK: Final = "yardstick"
CONSTANTS: Final = ("weights/weights.json", "weights/constants.npz")
# Of the sha256, in the name of the folder that a bundle is unpacked into.
DIGITS: Final = 12


def write_bundle(build: Path, formats: Iterable[str], path: Path) -> BundleIndex:
    """Write a build's artifacts and everything that they are checked with to one file; ``formats`` empty are all.

    Raises:
        EdgeError: nothing was exported there, an artifact is damaged, or a format was not exported.
    """
    exports = _chosen(build, tuple(formats))
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        for source, name in _sources(build, exports):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place / name)
        fields = reference_fields(build / REFERENCE)
        write_json(place / REFERENCE / FACTS, _without_folder(fields))
        write_json(place / EXPORTS, {"schema": EXPORTS_SCHEMA, **asdict(exports)})
        index = index_of(place, build.name, _required(fields))
        write_archive(place, index, path)
    return index


def _chosen(build: Path, formats: tuple[str, ...]) -> Exports:
    """Return what is exported of some formats, whole."""
    if read_reference(build / REFERENCE) is None:
        raise EdgeError("EF-reference-missing", f"{build} holds no reference; export the model first with `make export-all`.")
    exports = read_exports(build)
    written = {each.format for each in exports.formats if each.state in {"written", "kept"}}
    if missing := sorted(set(formats) - written):
        raise EdgeError(
            "EF-bundle-format", f"{build} has no artifact {missing[0]}; expected one of {', '.join(sorted(written))}."
        )
    chosen = sorted(set(formats) or written)
    for name in chosen:
        exports.refuse_other_manifest(build / name)
        if changed := what_changed(read_artifact(build / name), build / name):
            raise EdgeError("EF-artifact-changed", f"{build / name}: {changed}; run `make export-all`")
    kept = sorted((each for each in exports.formats if each.format in chosen), key=lambda each: each.format)
    return replace(
        exports,
        # Whether an export was repeated is of no use elsewhere.
        formats=tuple(replace(each, state="written", reason="", rebuilt=False) for each in kept),
        manifests={name: exports.manifests[name] for name in chosen},
        tolerances={name: exports.tolerances[name] for name in chosen if name in exports.tolerances},
    )


def _sources(build: Path, exports: Exports) -> Iterator[tuple[Path, str]]:
    """Yield each file of a bundle and its name there."""
    for name in exports.manifests:
        artifact = read_artifact(build / name)
        yield from ((build / name / each, f"{name}/{each}") for each in (MANIFEST, *artifact.files))
        if (build / name / RANGES).is_file():
            yield build / name / RANGES, f"{name}/{RANGES}"
    for folder in (REFERENCE, YARDSTICK):
        for path in files_below(build / folder):
            if path.name != CALIBRATION:
                yield path, path.relative_to(build).as_posix()
    yield from ((build / each, each) for each in CONSTANTS if (build / each).is_file())


def _without_folder(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a reference without the folder of its config: of no use elsewhere, and another on each machine."""
    folder = json.dumps(f"{Path(str(fields['config'])).parent}/", ensure_ascii=False)[1:-1]
    found: dict[str, Any] = json.loads(json.dumps(fields, ensure_ascii=False).replace(folder, ""))
    return found


def _required(fields: dict[str, Any]) -> tuple[str, ...]:
    """Return what the config requires to pass, where it is still there."""
    with suppress(EdgeError, OSError):
        return read_spec(Path(str(fields["config"]))).required
    return ()


def unpacked(path: Path, below: Path) -> Path:
    """Return the folder that holds a bundle's files, which is named by model and digest; it is unpacked if it is not there.

    Raises:
        EdgeError: the bundle is damaged, or a file in the folder was changed.
    """
    sha256 = sha256_of(path)
    place = (below / f"{read_index(path).model}-{sha256[:DIGITS]}").resolve()
    if not (place / INDEX).is_file():
        unpack(path, place)
        return place
    with Digests(place / DIGESTS) as digests:
        index = read_index(path)
        if problem := problem_in(place, index, digests.sha256):
            raise EdgeError("EF-bundle-unpacked", f"{place}: {problem}; remove the folder, and {path} is unpacked again.")
    return place


def required_in(place: Path) -> tuple[str, ...]:
    """Return what has to pass where a folder holds an unpacked bundle, and nothing elsewhere."""
    try:
        return tuple(map(str, json.loads((place / INDEX).read_text(encoding="utf-8"))["required"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()
