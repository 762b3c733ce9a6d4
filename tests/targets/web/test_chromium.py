# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from edgeferry.models.system.places import ROOT
from edgeferry.targets.target import Job, Run, Unsupported, targets
from edgeferry.targets.web.chromium import CHROMIUM, FLAGS

Answer = Callable[..., Run]
# Opens a browser as the target does, reports it, and waits to be killed.
OPEN_AND_WAIT: Final = """
import time
from edgeferry.targets.web.chromium import CHROMIUM
with CHROMIUM.page() as page:
    print("open", flush=True)
    time.sleep(60)
"""


def browsers_of(marker: str) -> list[int]:
    """Return the processes started with a marker in their environment that are browsers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "environ").read_bytes() and b"--headless" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.browser
def test_the_page_is_isolated_so_that_threads_and_a_fine_clock_are_available(answer: Answer) -> None:
    environment = answer("chromium-wasm", "tfjs-float32").environment
    assert environment["cross_origin_isolated"] is True
    assert "Chrome" in environment["user_agent"]


@pytest.mark.browser
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks processes up in /proc, which only Linux has")
def test_no_browser_outlives_the_process_that_opened_it() -> None:
    if why := targets()["chromium-wasm"].missing():
        pytest.skip(why)
    marker = f"EDGEFERRY_TEST_RUN={os.getpid()}-{time.monotonic_ns()}"
    opener = subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_WAIT], cwd=ROOT, env={**os.environ, **dict([marker.split("=")])}, stdout=subprocess.PIPE
    )
    assert opener.stdout is not None
    assert opener.stdout.readline() == b"open\n"
    assert browsers_of(marker)
    opener.send_signal(signal.SIGKILL)
    opener.communicate()
    until = time.monotonic() + 20
    while browsers_of(marker) and time.monotonic() < until:
        time.sleep(0.1)
    assert browsers_of(marker) == []


def test_a_named_browser_that_does_not_exist_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFERRY_CHROMIUM", str(tmp_path / "none"))
    assert str(targets()["chromium-wasm"].missing()).startswith(f"EDGEFERRY_CHROMIUM names {tmp_path / 'none'}, ")


@pytest.mark.browser
def test_a_browser_that_does_not_start_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright")
    monkeypatch.setenv("EDGEFERRY_CHROMIUM", "true")
    code = "EF-browser-not-started"
    with pytest.raises(Unsupported, match="true .*BrowserType.launch", check=lambda error: error.code == code), CHROMIUM.page():
        pass


def test_a_vendors_channel_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright")
    monkeypatch.setenv("EDGEFERRY_CHROMIUM", "msedge")
    assert (CHROMIUM.channel(), CHROMIUM.missing()) == ("msedge", None)


@pytest.mark.browser
@pytest.mark.parametrize(("name", "form"), [("webgpu", "tfjs-float32"), ("ort-webgpu", "onnx-float32")])
def test_a_browser_without_webgpu_is_not_run(
    name: str, form: str, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why := targets()[f"chromium-{name}"].missing():
        pytest.skip(why)
    monkeypatch.setitem(FLAGS, "webgpu", ("--disable-gpu", "--disable-features=WebGPU"))
    with pytest.raises(Unsupported, match="no WebGPU adapter", check=lambda error: error.code == "EF-web-backend"):
        targets()[f"chromium-{name}"].run(Job(build / form, build / "reference" / "pixels.npy", tmp_path))


@pytest.mark.browser
def test_a_backend_that_does_not_start_is_not_run(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if why := targets()["chromium-webgl"].missing():
        pytest.skip(why)
    monkeypatch.setitem(FLAGS, "webgl", ("--use-gl=disabled",))
    with pytest.raises(Unsupported, match="webgl backend .* OpenGL", check=lambda error: error.code == "EF-web-backend"):
        targets()["chromium-webgl"].run(Job(build / "tfjs-float32", build / "reference" / "pixels.npy", tmp_path))
