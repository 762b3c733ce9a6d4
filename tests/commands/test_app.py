# SPDX-License-Identifier: Apache-2.0
"""What all commands share: help, mistyped words, the version, exit statuses, and where the command is run from."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from edgeferry.commands.app import app
from edgeferry.models.system.places import ROOT
from edgeferry.models.system.process.owner import owned

pytestmark = pytest.mark.slow

Edgeferry = Callable[..., Any]
Here = Callable[..., Result]


@pytest.fixture
def here() -> Iterator[Here]:
    """Return a function that runs the command in this process: that of a process of its own takes a second to start."""
    log = logging.getLogger("edgeferry")
    level = log.level
    yield lambda *words: CliRunner().invoke(app, words, prog_name="edgeferry", env={"COLUMNS": "80"})
    log.setLevel(level)


def test_no_arguments_print_the_help_and_end_with_2(edgeferry: Edgeferry, tmp_path: Path) -> None:
    done = edgeferry(cwd=tmp_path)
    assert done.returncode == 2
    assert "Usage: edgeferry" in done.stdout


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_command(here: Here, option: str) -> None:
    done = here(option)
    assert (done.exit_code, done.stderr) == (0, "")
    names = [str(each.name or each.callback.__name__) for each in app.registered_commands if each.callback]
    assert all(re.search(rf"│ {re.escape(name)} ", done.stdout) for name in names)


@pytest.mark.parametrize("command", ["export-all", "export", "check", "report", "init", "validate", "demo", "train"])
def test_a_commands_first_line_of_help_fits_the_list(here: Here, command: str) -> None:
    lines = here("--help").stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"│ {command} "))
    assert lines[at].rstrip("│ ").endswith(".")


def test_a_paragraph_of_help_fills_the_width(here: Here) -> None:
    lines = [line.strip() for line in here("check", "--help").stdout.splitlines()]
    paragraph = lines[lines.index("Check the exported artifacts again, without TensorFlow.") + 2 :]
    assert all(len(line) > 60 for line in paragraph[: paragraph.index("") - 1])


def test_the_version_is_that_of_the_package(edgeferry: Edgeferry, tmp_path: Path) -> None:
    done = edgeferry("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert re.fullmatch(r"edgeferry (\d+\.\d+\.\d+\S*|, from a checkout that is not installed)\n", done.stdout)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("exprt", "my.toml"), "Did you mean 'export'"),
        (("export", "my.toml", "--formt", "keras"), "--format"),
        (("frobnicate",), "frobnicate"),
        (("export",), "MODEL"),
        (("demo", "my.toml", "--port", "99999"), "--port"),
    ],
)
def test_a_mistyped_command_line_ends_with_2_and_a_hint(here: Here, words: tuple[str, ...], hint: str) -> None:
    done = here(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert hint in done.stderr
    assert isinstance(done.exception, SystemExit)


def test_a_mistyped_command_line_prints_no_traceback(edgeferry: Edgeferry, tmp_path: Path) -> None:
    done = edgeferry("exprt", "my.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'export'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("-q", "-v", "formats"), ("--quiet", "--verbose", "formats")])
def test_quiet_and_verbose_stand_before_the_command(here: Here, words: tuple[str, ...]) -> None:
    assert here(*words).exit_code == 0


def test_quiet_prints_no_steps_and_verbose_does(edgeferry: Edgeferry, project: Path, tmp_path: Path) -> None:
    # The step fails before it imports TensorFlow.
    (tmp_path / "sitecustomize.py").write_text(
        "import edgeferry.models.golden.reference_writer as reference\n"
        "def make_reference(spec, folder):\n    raise RuntimeError('no predictions')\n"
        "reference.make_reference = make_reference\n",
        encoding="utf-8",
    )
    quiet, verbose = (edgeferry(option, "export", "my.toml", cwd=project, first=tmp_path) for option in ("-q", "-v"))
    assert quiet.stderr.endswith(" [EF-child-failed]\n")
    assert quiet.stderr.count("\n") == 1
    assert verbose.stderr.count("\n") > 1


def test_an_unexpected_exception_ends_with_3_and_a_log(edgeferry: Edgeferry, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import edgeferry.models.config.spec as spec\n"
        "def read_spec(path):\n    raise RuntimeError('first line\\nsecond line')\n"
        "spec.read_spec = read_spec\n",
        encoding="utf-8",
    )
    (tmp_path / "my.toml").touch()
    done = edgeferry("check", "my.toml", cwd=tmp_path, first=tmp_path, TMPDIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(" [EF-defect]\n")
    assert "RuntimeError: first line second line" in done.stderr
    log = Path(re.search(r"traceback is in (\S+)", done.stderr)[1])  # type: ignore[index]
    text = log.read_text(encoding="utf-8")
    assert log.parent == tmp_path
    assert "Traceback (most recent call last)" in text
    assert "second line" in text
    assert "'check', 'my.toml'" in text


def test_a_missing_module_of_edgeferry_itself_is_a_defect(edgeferry: Edgeferry, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['edgeferry.exporters.format'] = None\n", encoding="utf-8")
    done = edgeferry("formats", cwd=tmp_path, first=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 3
    assert "[EF-defect]" in done.stderr


def test_a_closed_pipe_is_no_failed_check(tmp_path: Path) -> None:
    # The writer is slowed down until the reader is gone.
    (tmp_path / "sitecustomize.py").write_text(
        "import edgeferry.commands.listing as listing, time\n"
        "def lines(found):\n    time.sleep(1)\n    return 'x' * 1_000_000\n"
        "listing._json = lines\n",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, "-m", "edgeferry", "formats", "--json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 130


@pytest.fixture
def somebody_elses(tmp_path: Path) -> Path:
    """Return a repository of somebody else's, with packages that are named like edgeferry's folders."""
    for name in ("models", "exporters", "targets", "benchmarks", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('a package of somebody else')\n", encoding="utf-8")
    return tmp_path


def test_packages_of_the_same_names_do_no_harm(edgeferry: Edgeferry, somebody_elses: Path) -> None:
    done = edgeferry("formats", cwd=somebody_elses)
    assert (done.returncode, done.stderr) == (0, "")
    assert "keras" in done.stdout


def test_the_installed_program_runs_there_too(somebody_elses: Path) -> None:
    program = Path(sys.executable).with_name("edgeferry")
    if not program.is_file():
        pytest.skip("edgeferry is not installed in this environment")
    done = subprocess.run(
        [program, "formats"],
        cwd=somebody_elses,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "keras" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_prints_no_traceback_and_is_no_failed_check(project: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "edgeferry", "export", "my.toml"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "predictions" in process.stderr.readline()
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(60) == 128 + number
    assert "Traceback" not in rest
    assert not (project / "build" / "my" / "reference").exists()


def test_an_interrupt_during_the_imports_ends_silently(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "edgeferry", "formats"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_build_folder_in_use_ends_with_2_and_names_its_owner(edgeferry: Edgeferry, project: Path) -> None:
    with owned(project / "build" / "my", print):
        done = edgeferry("export", "my.toml", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"in use by process {os.getpid()} on " in done.stderr
