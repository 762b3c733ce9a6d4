# SPDX-License-Identifier: Apache-2.0
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models.child import ChildError
from targets.target import Run, Unsupported, targets
from targets.tfjs import WEB

Answer = Callable[..., Run]
BOTH = ["node-wasm", pytest.param("chromium-wasm", marks=pytest.mark.browser)]


def test_the_lock_names_no_host() -> None:
    lock = (WEB / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in lock
    assert not re.search(r"https?://", lock)


def test_every_package_of_the_lock_has_a_hash() -> None:
    packages = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert [name for name, facts in packages.items() if name and not facts.get("integrity", "").startswith("sha512-")] == []


def test_the_packages_are_pinned_to_one_version() -> None:
    assert set(json.loads((WEB / "package.json").read_text(encoding="utf-8"))["dependencies"].values()) == {"4.22.0"}


def test_npm_runs_no_scripts_and_writes_no_hosts() -> None:
    settings = (WEB / ".npmrc").read_text(encoding="utf-8").split()
    assert {"ignore-scripts=true", "omit-lockfile-registry-resolved=true"} <= set(settings)


def test_absent_packages_are_told_with_the_way_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(WEB / "package.json", tmp_path)
    monkeypatch.setattr("targets.tfjs.WEB", tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    why = targets()["node-wasm"].missing()
    assert why is not None
    assert "is not installed, 4.22.0 is needed: `make install`" in why


@pytest.mark.parametrize("name", BOTH)
def test_the_backend_asked_for_is_what_ran_and_no_tensor_is_left(name: str, answer: Answer) -> None:
    environment = answer(name, "tfjs-float32").environment
    assert (environment["backend"], environment["version"], environment["leaked_tensors"]) == ("wasm", "4.22.0", 0)


@pytest.mark.parametrize("name", BOTH)
def test_more_threads_than_can_be_had_are_refused(name: str, answer: Answer) -> None:
    with pytest.raises(Unsupported, match="thread"):
        answer(name, "tfjs-float32", threads=64)


@pytest.mark.parametrize("name", BOTH)
def test_truncated_weights_fail(name: str, build: Path, tmp_path: Path, answer: Answer) -> None:
    folder = Path(shutil.copytree(build / "tfjs-float32", tmp_path / "cut"))
    (weights,) = folder.glob("*.bin")
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(ChildError):
        answer(name, folder)


@pytest.mark.parametrize("name", BOTH)
def test_an_absent_weight_file_is_named_in_the_error(name: str, build: Path, tmp_path: Path, answer: Answer) -> None:
    folder = Path(shutil.copytree(build / "tfjs-float32", tmp_path / "bare"))
    (weights,) = folder.glob("*.bin")
    weights.unlink()
    with pytest.raises(ChildError, match=weights.name):
        answer(name, folder)
