# SPDX-License-Identifier: Apache-2.0
"""The scores of all reports that a scorecard has seen, in an SQLite file that only grows."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.fleet.scorecard import ModelScores, Score
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import explain_disk_errors

# History: 1, the first.
SCHEMA: Final = 1
HISTORY: Final = "scorecard.sqlite"
# How long to wait for another process that is writing.
BUSY_S: Final = 30.0
COLUMNS: Final = tuple(each.name for each in fields(Score))
TABLES: Final = """
CREATE TABLE reports (
    report INTEGER PRIMARY KEY, recorded TEXT NOT NULL, model TEXT NOT NULL, created TEXT NOT NULL, digest TEXT NOT NULL
);
CREATE TABLE results (
    report INTEGER NOT NULL REFERENCES reports, format TEXT NOT NULL, target TEXT NOT NULL, outcome TEXT NOT NULL,
    reason TEXT NOT NULL, images INTEGER, agreement REAL, accuracy REAL, bytes INTEGER, latency_ratio REAL, artifact_sha256 TEXT,
    PRIMARY KEY (report, format, target)
);
CREATE INDEX reports_of_model ON reports (model, report);
CREATE VIEW scores AS SELECT model, created, recorded, results.* FROM results JOIN reports USING (report);
"""
# What was recorded is never changed: neither by a defect nor by a slip in an SQL shell.
ONLY_GROWS: Final = "".join(
    f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'the history only grows'); END;\n"
    for table in ("reports", "results")
    for verb in ("UPDATE", "DELETE")
)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a history, made where there is none; what the block writes is kept as a whole or not at all.

    Raises:
        EdgeError: the file is no history, is of another release, or cannot be written.
    """
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as history:
            # Whoever comes second waits, and then sees what the first has written.
            history.execute("BEGIN IMMEDIATE")
            _prepare(history, path)
            yield history
            history.execute("COMMIT")
    except sqlite3.Error as error:
        raise EdgeError(
            "EF-scorecard-history", f"{path} cannot be used as a history of scores ({error}); name another file with --history."
        ) from error


def _prepare(history: sqlite3.Connection, path: Path) -> None:
    (found,) = history.execute("PRAGMA user_version").fetchone()
    if found == SCHEMA:
        return
    if found or history.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise EdgeError(
            "EF-scorecard-schema",
            f"{path} is no history of scores that this release reads (version {found}, expected {SCHEMA}); name another one "
            "with --history.",
        )
    for statement in _statements(TABLES + ONLY_GROWS):
        history.execute(statement)
    history.execute(f"PRAGMA user_version = {SCHEMA}")


def _statements(text: str) -> Iterator[str]:
    """Yield one statement after another: ``executescript`` would end the transaction."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def before(history: sqlite3.Connection, now: ModelScores) -> ModelScores | None:
    """Return the scores of a model's last report that found anything else than this one, None where there is none."""
    row = history.execute(
        "SELECT report, created FROM reports WHERE model = ? AND digest != ? ORDER BY report DESC LIMIT 1", (now.name, now.digest)
    ).fetchone()
    if row is None:
        return None
    found = history.execute(f"SELECT {', '.join(COLUMNS)} FROM results WHERE report = ?", (row[0],))  # noqa: S608 - constants
    return ModelScores(now.name, row[1], tuple(Score(*each) for each in found))


def record(history: sqlite3.Connection, now: ModelScores) -> None:
    """Append a model's scores, where its last report found something else."""
    last = history.execute("SELECT digest FROM reports WHERE model = ? ORDER BY report DESC LIMIT 1", (now.name,)).fetchone()
    if last is not None and last[0] == now.digest:
        return
    at = datetime.now(UTC).isoformat(timespec="seconds")
    added = history.execute(
        "INSERT INTO reports (recorded, model, created, digest) VALUES (?, ?, ?, ?)", (at, now.name, now.created, now.digest)
    )
    history.executemany(
        f"INSERT INTO results (report, {', '.join(COLUMNS)}) VALUES ({', '.join('?' * (len(COLUMNS) + 1))})",  # noqa: S608 - constants
        [(added.lastrowid, *asdict(each).values()) for each in now.scores],
    )
