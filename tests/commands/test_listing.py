# SPDX-License-Identifier: Apache-2.0
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeferry.commands import listing
from edgeferry.models.system.places import ROOT

pytestmark = pytest.mark.slow

SCHEMA = json.loads((ROOT / "edgeferry" / "commands" / "capabilities.schema.json").read_text(encoding="utf-8"))


def on_terminal(*words: str, columns: int, cwd: Path) -> str:
    """Return what the command prints on a terminal of so many columns."""
    reading, terminal = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": str(columns)}
    with subprocess.Popen([sys.executable, "-m", "edgeferry", *words], cwd=cwd, env=environment, stdout=terminal) as process:
        os.close(terminal)
        text = b""
        try:
            while part := os.read(reading, 65536):
                text += part
        except OSError:
            # Linux ends the reading of a terminal that nobody holds open with an error.
            pass
        process.wait(60)
    os.close(reading)
    return text.decode().replace("\r\n", "\n")


def words_of(text: str) -> str:
    return " ".join(text.split())


def items(edgeferry: Callable[..., Any], command: str, cwd: Path) -> list[dict[str, Any]]:
    done = edgeferry(command, "--json", cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    listed: list[dict[str, Any]] = found["items"]
    return listed


def test_doctor_lists_every_format_and_target(edgeferry: Callable[..., Any], tmp_path: Path) -> None:
    formats, targets = (items(edgeferry, command, tmp_path) for command in ("formats", "targets"))
    assert items(edgeferry, "doctor", tmp_path) == [*formats, *targets]
    assert {each["kind"] for each in formats} == {"format"}
    assert {each["kind"] for each in targets} == {"target"}
    assert all((each["state"] == "missing") == (each["missing"] is not None) for each in [*formats, *targets])


def test_no_reason_is_cut_on_a_terminal_of_80_columns(edgeferry: Callable[..., Any], tmp_path: Path) -> None:
    text = on_terminal("doctor", columns=80, cwd=tmp_path)
    missing = [each for each in items(edgeferry, "doctor", tmp_path) if each["missing"]]
    assert missing
    for each in missing:
        assert words_of(each["missing"]) in words_of(text), each["name"]
    too_wide = [line for line in text.splitlines()[1:] if len(line) > 80 and " " in line.strip()]
    assert not too_wide


def test_no_line_is_wrapped_in_a_pipe(edgeferry: Callable[..., Any], tmp_path: Path) -> None:
    text = edgeferry("doctor", cwd=tmp_path, COLUMNS="80").stdout
    lines = {line.strip() for line in text.splitlines()}
    for each in items(edgeferry, "doctor", tmp_path):
        assert each["missing"] in lines if each["missing"] else any(line.endswith(each["summary"]) for line in lines)


def test_doctor_lists_what_is_ready_first_and_what_is_missing_last(edgeferry: Callable[..., Any], tmp_path: Path) -> None:
    targets = edgeferry("doctor", cwd=tmp_path).stdout.partition("\nTargets: ")[2]
    places = [targets.index(f"\n  {heading}") for heading in ("ready\n", "opt-in", "missing")]
    assert places == sorted(places)


def test_a_reason_that_several_share_is_printed_once() -> None:
    found = [listing.Capability("target", name, "", opt_in=False, missing="needs macOS") for name in ("gpu", "ane")]
    assert list(listing._reasons(found, 80)) == ["    gpu, ane", "        needs macOS"]


def test_no_format_is_ready_in_a_base_install(edgeferry: Callable[..., Any], base_install: Path, tmp_path: Path) -> None:
    text = edgeferry("doctor", cwd=tmp_path, first=base_install).stdout
    assert "Formats: 0 of " in text
    assert "`pip install 'edgeferry[export]'`" in text
    assert "`pip install --no-deps tensorflowjs==4.22.0`" in text


def test_a_checkout_installs_with_make_and_a_wheel_with_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "How to install more" not in "\n".join(listing._diagnosis([], 80))
    monkeypatch.setattr(listing, "ROOT", tmp_path)
    lines = list(listing._diagnosis([], 80))
    assert "    pip install --no-deps tensorflowjs==4.22.0" in lines
    assert all(f"'edgeferry[{extra}]'" in "\n".join(lines) for extra in ("check", "export", "bench", "web", "serve"))
