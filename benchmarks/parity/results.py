# SPDX-License-Identifier: Apache-2.0
"""The results of a model's runs, ``build/<model>/results.jsonl``: one line each, written as soon as it is there."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.reading import row_of
from edgeferry.benchmarks.parity.rows import Row, cleaned
from edgeferry.models.system.files import append_line

# History: 1, the first; 2 and 3 hold rows as report.json has them since its schemas of these numbers.
SCHEMA: Final = 3
RESULTS: Final = "results.jsonl"
# The folder below build/<model>/ with what runs leave: logs, and a parent's integers.
RUNS: Final = "runs"


def known_rows(build: Path) -> dict[str, Row]:
    """Return the rows kept by key; a line that is damaged or of another schema is passed over."""
    try:
        lines = (build / RESULTS).read_bytes().splitlines()
    except OSError:
        return {}
    rows = {}
    for line in lines:
        try:
            data: dict[str, Any] = json.loads(line)
            if data["schema"] == SCHEMA:
                rows[str(data["key"])] = row_of(data["row"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return rows


def keep_row(build: Path, key: str, row: Row, latencies_ms: tuple[float, ...]) -> None:
    """Append a row with its raw latencies; an empty key keeps it for the record only, so that it is never used again."""
    line = {"schema": SCHEMA, "key": key, "row": asdict(cleaned(row)), "latencies_ms": latencies_ms}
    append_line(build / RESULTS, json.dumps(line, ensure_ascii=False))
