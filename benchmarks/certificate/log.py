# SPDX-License-Identifier: Apache-2.0
"""The audit trail of a build folder: a line for every check and every certificate, each with the digest of the line before.

A line that is changed, left out or put in breaks the chain at that place. Somebody who can write the folder can write the whole
chain again; a signed certificate, which holds the digest of the last line before it, shows that.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from edgeferry.models.system.files import append_line

# History: 1, the first.
SCHEMA: Final = 1
LOG: Final = "log.jsonl"
# What the first line names as the line before.
START: Final = "0" * 64
Event = Literal["checked", "certified"]
FIELDS: Final = {"schema", "number", "previous", "event", "at", "sha256", "status"}


def append_event(build: Path, event: Event, sha256: str, status: int) -> None:
    """Append that something was checked or certified; ``sha256`` is that of report.json or of the certificate."""
    lines = _lines(build)
    line = {
        "schema": SCHEMA,
        "number": len(lines) + 1,
        "previous": _sha256(lines[-1]) if lines else START,
        "event": event,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": sha256,
        "status": status,
    }
    append_line(build / LOG, json.dumps(line))


def last_digest(build: Path) -> str:
    """Return the digest of the last line, or START where there is none."""
    lines = _lines(build)
    return _sha256(lines[-1]) if lines else START


def events(build: Path) -> list[dict[str, Any]]:
    """Return what the log holds, each line with its own digest under 'line'.

    Raises:
        ValueError: the chain is broken; says at which line.
    """
    found, previous = [], START
    for number, line in enumerate(_lines(build), 1):
        try:
            fields = json.loads(line)
            is_right = isinstance(fields, dict) and set(fields) == FIELDS and fields["number"] == number
        except (ValueError, RecursionError):
            is_right = False
        if not is_right or fields["previous"] != previous:
            raise ValueError(f"{LOG}: the chain is broken at line {number}: it does not follow from the line before")
        previous = _sha256(line)
        found.append({**fields, "line": previous})
    return found


def _lines(build: Path) -> list[bytes]:
    try:
        return (build / LOG).read_bytes().splitlines()
    except OSError:
        return []


def _sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
