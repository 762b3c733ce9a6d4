# SPDX-License-Identifier: Apache-2.0
"""What a build folder's exports.json records: what became of every format, and what each artifact's manifest has to be.

It is outside the artifacts' folders: an artifact that is replaced together with its manifest is still known to be another one.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from edgeferry.models.artifact import EXPORTS, MANIFEST
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, refuse_other_schema, sha256_of, write_json

# History: 1, the first; 2 holds the digest of each manifest, and the tolerances that the config sets.
SCHEMA: Final = 2

State = Literal["written", "kept", "failed", "not run"]


@dataclass(frozen=True)
class Export:
    """What became of one format, and why; ``rebuilt`` where its files were not those that were exported."""

    format: str
    state: State
    reason: str
    rebuilt: bool = False
    code: str | None = None


@dataclass(frozen=True)
class Exports:
    """The record of a build folder: the formats of the last export, the sha256 of every manifest by format.

    ``tolerances`` are those that the config sets itself, by format and key.
    """

    formats: tuple[Export, ...] = ()
    manifests: Mapping[str, str] = field(default_factory=dict)
    tolerances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def refuse_other_manifest(self, folder: Path, sha256: Sha256 = sha256_of) -> None:
        """Refuse an artifact whose manifest is not the one that was exported.

        Raises:
            EdgeError: it is another one, or none was exported there.
        """
        recorded = self.manifests.get(folder.name)
        if recorded is None:
            raise EdgeError("EF-manifest-unlisted", f"{EXPORTS} lists no manifest of {folder.name}; run `make export-all`")
        if sha256(folder / MANIFEST) != recorded:
            raise EdgeError(
                "EF-manifest-changed",
                f"{MANIFEST} is not the one that was exported (its sha256 differs from that in {EXPORTS}); "
                "export again with `make export-all`",
            )


def read_exports(build: Path) -> Exports:
    """Return what a build folder's exports.json records.

    Raises:
        EdgeError: there is none, it is damaged, or another release of edgeferry wrote it.
    """
    path = build / EXPORTS
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        refuse_other_schema(path, fields.get("schema"), SCHEMA, "make export-all")
        return _exports(fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise EdgeError(
            "EF-exports-unreadable", f"{path} cannot be read; export the model first with `make export-all`."
        ) from None


def known_exports(build: Path) -> Exports:
    """Return what exports.json records, and nothing where it cannot be read."""
    try:
        return read_exports(build)
    except EdgeError:
        return Exports()


def write_exports(build: Path, exports: Exports) -> None:
    """Write exports.json, where it does not hold this already."""
    if known_exports(build) != exports:
        write_json(build / EXPORTS, {"schema": SCHEMA, **asdict(exports)})


def record_manifest(build: Path, name: str) -> None:
    """Record the manifest of an artifact that was just written: an export that is cut short keeps what it has."""
    known = known_exports(build)
    write_exports(build, replace(known, manifests={**known.manifests, name: sha256_of(build / name / MANIFEST)}))


def set_by_config(spec: ModelSpec) -> dict[str, dict[str, float]]:
    """Return the tolerances that a config sets itself, by format and key."""
    return {
        name: {key: value for of, key, value in spec.tolerances if of == name}
        for name in dict.fromkeys(name for name, _, _ in spec.tolerances)
    }


def _exports(fields: Mapping[str, Any]) -> Exports:
    return Exports(
        formats=tuple(Export(**each) for each in fields["formats"]),
        manifests={str(name): str(sha256) for name, sha256 in fields["manifests"].items()},
        tolerances={
            str(name): {str(key): float(value) for key, value in own.items()} for name, own in fields["tolerances"].items()
        },
    )
