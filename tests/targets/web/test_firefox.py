# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeferry.targets.target import Job, Run, Unsupported, targets
from edgeferry.targets.web.firefox import FIREFOX

Answer = Callable[..., Run]


@pytest.mark.browser
def test_it_is_firefox_that_answers_in_an_isolated_page(answer_once: Answer) -> None:
    environment = answer_once("firefox-wasm", "tfjs-float32").environment
    assert "Firefox/" in environment["user_agent"]
    assert environment["cross_origin_isolated"] is True


@pytest.mark.browser
def test_what_goes_wrong_in_the_page_is_told(build: Path, tmp_path: Path) -> None:
    if why := targets()["firefox-wasm"].missing():
        pytest.skip(why)
    job = Job(build / "tfjs-float32", build / "reference" / "pixels.npy", tmp_path / "work")
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "manifest.json").write_bytes((build / "tfjs-float32" / "manifest.json").read_bytes())
    with pytest.raises(RuntimeError, match="model.json: HTTP 404"):
        targets()["firefox-wasm"].run(Job(folder, job.pixels, job.work))


def test_a_browser_that_ends_by_itself_says_nothing_of_the_artifact(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFERRY_FIREFOX", "true")
    with pytest.raises(Unsupported, match="true ended with status 0 before it answered"):
        targets()["firefox-wasm"].run(Job(build / "tfjs-float32", build / "reference" / "pixels.npy", tmp_path / "work"))


def test_it_runs_only_when_named() -> None:
    assert not any(target.by_default for name, target in targets().items() if name.startswith("firefox-"))


def test_a_browser_that_is_absent_is_told_with_the_way_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EDGEFERRY_FIREFOX", raising=False)
    assert FIREFOX.missing() == (
        "no Firefox is on PATH (looked for firefox, firefox-esr): install one, or name it in EDGEFERRY_FIREFOX"
    )
