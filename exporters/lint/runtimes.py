# SPDX-License-Identifier: Apache-2.0
"""What a TF Lite runtime, or the Edge TPU's compiler, accepts: the tables in op_versions/, one file per runtime."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.registry import refuse_unknown

FOLDER: Final = Path(__file__).parent / "op_versions"
EDGETPU: Final = "edgetpu"


@dataclass(frozen=True)
class RuntimeSupport:
    """What one runtime accepts: the highest version of each operation it has; ``title`` is its name and version.

    ``mapped`` holds the operations that an Edge TPU computes, with their limits as text; it is empty for CPU runtimes.
    ``public`` are those of them that a public copy of Google's list has, ``unconfirmed`` those without an available source.
    """

    name: str
    title: str
    highest: Mapping[str, int]
    mapped: Mapping[str, str] = field(default_factory=dict)
    public: frozenset[str] = frozenset()
    unconfirmed: frozenset[str] = frozenset()

    @property
    def is_edgetpu(self) -> bool:
        """Return whether it is the Edge TPU and its compiler."""
        return bool(self.mapped)


def runtime_names() -> tuple[str, ...]:
    """Return the names of the runtimes that have a table."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@cache
def support_of(name: str) -> RuntimeSupport:
    """Return what a runtime accepts, by the name of its table.

    Raises:
        EdgeError: there is no such table; names those there are.
    """
    refuse_unknown([name], dict.fromkeys(runtime_names()), "runtime with a table of operations")
    facts = _table(name)
    operations = facts.get("operations", {})
    return RuntimeSupport(
        name=name,
        title=facts["runtime"],
        highest=facts["highest"] if "highest" in facts else _table(facts["versions_of"])["highest"],
        mapped={each: about["limits"] for each, about in operations.items()},
        public=_of_status(operations, "public"),
        unconfirmed=_of_status(operations, "unconfirmed"),
    )


def _of_status(operations: Mapping[str, Any], status: str) -> frozenset[str]:
    return frozenset(name for name, about in operations.items() if about["status"] == status)


def _table(name: str) -> dict[str, Any]:
    path = FOLDER / f"{name}.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EdgeError("EF-lint-table", f"{path} cannot be read ({error}): `edgeferry probe-ops` writes it again") from None
    return facts
