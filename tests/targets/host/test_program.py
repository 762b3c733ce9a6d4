# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

from edgeferry.targets.host.program import run_program


def test_variables_that_would_make_it_load_our_modules_are_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("NODE_OPTIONS", "--require=ours")
    run_program(
        [sys.executable, "-c", "import os, sys; sys.exit(bool({'PYTHONPATH', 'NODE_OPTIONS'} & set(os.environ)))"], tmp_path
    )


def test_the_error_ends_in_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"status 1: ValueError: no$"):
        run_program([sys.executable, "-c", "raise ValueError('no')"], tmp_path)


def test_the_error_names_the_signal_that_killed_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="SIGSEGV"):
        run_program([sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"], tmp_path)
