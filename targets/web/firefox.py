# SPDX-License-Identifier: Apache-2.0
"""Headless Firefox, asked by name only. It is not driven: it opens the page, which fetches its job and posts its report.

Playwright drives builds of Firefox of its own, or one newer than the long-term one that is commonly installed.
"""

import json
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from edgeferry.models.system.files import write_json
from edgeferry.targets.target import Job, Run, Target, Unsupported
from edgeferry.targets.web.browser import Browser, largest_post, shown_to
from edgeferry.targets.web.javascript import LITERT, ORT, SCORES, TFJS, Engine, hand_over, taken_back
from edgeferry.targets.web.page_server import PageServer, page_server

FIREFOX: Final = Browser(
    title="Firefox",
    variable="EDGEFERRY_FIREFOX",
    programs=("firefox", "firefox-esr"),
    channels=(),
    flags=("--headless", "--no-remote", "--new-instance"),
)
JOB: Final = "job.json"
REPORT: Final = "report.json"
LARGEST_REPORT: Final = 1024 * 1024
LONGEST_S: Final = 600.0
# A profile that asks no network for anything, and may use WebGPU where it is built in.
PREFERENCES: Final[dict[str, bool | str | int]] = {
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "",
    "network.proxy.type": 0,
    "dom.webgpu.enabled": True,
}


def _run(job: Job, engine: Engine, backend: str) -> Run:
    write_json(job.work / JOB, hand_over(job, engine, backend))
    profile = job.work / "profile"
    profile.mkdir(exist_ok=True)
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
    with page_server(shown_to(job), largest_post(job) + LARGEST_REPORT) as server:
        report = _reported(server, profile)
    if error := report.get("error"):
        raise RuntimeError(error)
    return taken_back(job, report, lambda: server.posted[SCORES])


def _reported(server: PageServer, profile: Path) -> Mapping[str, object]:
    """Return what the page posts; the browser has ended then.

    Raises:
        Unsupported: Firefox ended by itself.
        RuntimeError: nothing came in time.
    """
    program = FIREFOX.program() or FIREFOX.programs[0]
    command = [program, *FIREFOX.flags, "--profile", str(profile), f"{server.address}web/client/page.html#{JOB}"]
    firefox = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the program that missing() found
    try:
        until = time.monotonic() + LONGEST_S
        while REPORT not in server.posted:
            if firefox.poll() is not None:
                raise Unsupported(f"{program} ended with status {firefox.returncode} before it answered")
            if time.monotonic() > until:
                raise RuntimeError(f"the page in {program} reported nothing in {LONGEST_S:.0f} s")
            time.sleep(0.02)
    finally:
        firefox.terminate()
        firefox.wait()
    told: dict[str, object] = json.loads(server.posted[REPORT])
    return told


def _missing(engine: Engine) -> str | None:
    return FIREFOX.program_missing() or engine.missing()


def _versions(engine: Engine) -> Mapping[str, str]:
    return {**engine.versions(), **FIREFOX.versions()}


def _target(name: str, engine: Engine, backend: str, reads: str) -> Target:
    return Target(
        name=f"firefox-{name}",
        summary=f"headless Firefox, by {engine.title} on {backend}",
        reads=frozenset({reads}),
        missing=partial(_missing, engine),
        run=partial(_run, engine=engine, backend=backend),
        versions=partial(_versions, engine),
        by_default=False,
    )


TARGETS = (
    _target("wasm", TFJS, "wasm", "tfjs"),
    _target("webgl", TFJS, "webgl", "tfjs"),
    _target("webgpu", TFJS, "webgpu", "tfjs"),
    _target("ort-wasm", ORT, "wasm", "onnx"),
    _target("litert-wasm", LITERT, "wasm", "tflite"),
)
