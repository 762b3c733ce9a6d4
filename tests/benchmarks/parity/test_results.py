# SPDX-License-Identifier: Apache-2.0
"""Results of runs that were kept: a line that is damaged costs its own row alone."""

from pathlib import Path

import pytest

from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.results import RESULTS, keep_row, known_rows
from edgeferry.benchmarks.parity.rows import Row

ROW = Row("tflite-int8", "litert", Verdict("passed", "two lines\u2028by Unicode"))


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe\n",
        b'{"schema": 3, "key": "k", "row": 5}\n',
        b"[[1]]\n",
        b"[" * 100_000 + b"\n",
        b"\x00\n",
        b'{"schema": 3, "ke',
    ],
)
def test_a_damaged_line_is_passed_over(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / RESULTS).write_bytes(damage)
    keep_row(tmp_path, "key", ROW, (0.1,))
    assert known_rows(tmp_path) == {"key": ROW}
