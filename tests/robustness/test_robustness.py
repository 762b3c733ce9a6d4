# SPDX-License-Identifier: Apache-2.0
"""Damaged files and killed runs do no harm: a few in every run of the tests, many where asked for.

``EDGEFERRY_ROBUSTNESS=5000`` damages that many files of each kind, and kills a twenty-fifth as many exports; both print what came
of them. ``mutate.py`` and ``kill.py`` can be run alone as well.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.models.system.places import ROOT

HERE: Final = Path(__file__).parent
ASKED: Final = int(os.environ.get("EDGEFERRY_ROBUSTNESS", "0"))
FILES: Final = ASKED or 20
# Importing TensorFlow takes 600 MiB of it.
MOST_MIB: Final = 1500


def result_of(program: str, *words: str | Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, HERE / program, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(f"{json.dumps({name: value for name, value in found.items() if name != 'wrong'})}\n")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["config", "image", "npz", "keras", "h5"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else_happens(kind: str, tmp_path: Path) -> None:
    found = result_of("mutate.py", kind, str(FILES), "1", tmp_path / kind)
    assert found["wrong"] == []
    assert found["refused"] > 0
    assert found["peak MiB"] < MOST_MIB


def test_a_damaged_manifest_is_read_or_refused_and_nothing_else_happens(exported_digits: Any, tmp_path: Path) -> None:
    found = result_of("mutate.py", "manifest", str(FILES), "1", tmp_path / "manifest", BUILD=str(exported_digits.build))
    assert found["wrong"] == []
    assert found["refused"] > 0


@pytest.mark.skipif(not ASKED, reason="takes minutes: EDGEFERRY_ROBUSTNESS=5000 asks for it")
def test_runs_that_are_killed_or_meet_leave_nothing_half_and_the_next_one_heals(digits: Any, tmp_path: Path) -> None:
    found = result_of("kill.py", str(max(1, ASKED // 25)), str(max(1, ASKED // 100)), "1", digits.path, tmp_path / "kills")
    assert found["wrong"] == []
