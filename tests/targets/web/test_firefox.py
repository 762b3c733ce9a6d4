# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeferry.targets.target import Job, Run, Unsupported, targets
from edgeferry.targets.web.firefox import FIREFOX

Answer = Callable[..., Run]


@pytest.mark.browser
def test_it_is_firefox_that_runs_an_isolated_page(answer_once: Answer) -> None:
    environment = answer_once("firefox-wasm", "tfjs-float32").environment
    assert "Firefox/" in environment["user_agent"]
    assert environment["cross_origin_isolated"] is True


@pytest.mark.browser
def test_an_error_in_the_page_is_reported(build: Path, tmp_path: Path) -> None:
    if why := targets()["firefox-wasm"].missing():
        pytest.skip(why)
    job = Job(build / "tfjs-float32", build / "reference" / "pixels.npy", tmp_path / "work")
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "manifest.json").write_bytes((build / "tfjs-float32" / "manifest.json").read_bytes())
    with pytest.raises(RuntimeError, match="model.json: HTTP 404"):
        targets()["firefox-wasm"].run(Job(folder, job.pixels, job.work))


def test_a_browser_that_ends_by_itself_is_unsupported(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFERRY_FIREFOX", "true")
    with pytest.raises(Unsupported, match="true .*status 0", check=lambda error: error.code == "EF-browser-ended"):
        targets()["firefox-wasm"].run(Job(build / "tfjs-float32", build / "reference" / "pixels.npy", tmp_path / "work"))


def test_it_is_opt_in() -> None:
    assert not any(target.by_default for name, target in targets().items() if name.startswith("firefox-"))


def test_a_missing_browser_is_reported_with_the_variable_that_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EDGEFERRY_FIREFOX", raising=False)
    assert FIREFOX.missing() == (
        "no Firefox is on PATH (searched for firefox, firefox-esr): install one, or name it in EDGEFERRY_FIREFOX"
    )
