# SPDX-License-Identifier: Apache-2.0
"""Headless Firefox, opt-in. Nothing drives it: it opens the page, which fetches its job and posts its report.

Playwright drives its own builds of Firefox, or a newer version than the long-term release that is commonly installed.
"""

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.models.system.files import write_json
from edgeferry.targets.target import Job, Run, Unsupported
from edgeferry.targets.web.browser import Browser, folders_of, largest_post, page_target
from edgeferry.targets.web.javascript import LITERT, ORT, SCORES, TFJS, Engine, describe_job, read_report

if TYPE_CHECKING:
    from edgeferry.targets.web.page_server import PageServer

FIREFOX: Final = Browser(
    name="firefox",
    title="Firefox",
    variable="EDGEFERRY_FIREFOX",
    programs=("firefox", "firefox-esr"),
    channels=(),
    flags=("--headless", "--no-remote", "--new-instance"),
    modules=(),
)
JOB: Final = "job.json"
REPORT: Final = "report.json"
LARGEST_REPORT: Final = 1024 * 1024
LONGEST_S: Final = 600.0
# A profile that uses no network, and may use WebGPU where it is built in.
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
    from edgeferry.targets.web.page_server import page_server

    write_json(job.work / JOB, describe_job(job, engine, backend))
    profile = job.work / "profile"
    profile.mkdir(exist_ok=True)
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
    with page_server(folders_of(job), largest_post(job) + LARGEST_REPORT) as server:
        report = _report(server, profile)
    if error := report.get("error"):
        raise RuntimeError(error)
    return read_report(job, report, lambda: server.posted[SCORES])


def _report(server: "PageServer", profile: Path) -> Mapping[str, object]:
    """Return the report that the page posts; the browser has ended then.

    Raises:
        Unsupported: Firefox ended by itself.
        RuntimeError: no report came in time.
    """
    program = FIREFOX.program() or FIREFOX.programs[0]
    command = [program, *FIREFOX.flags, "--profile", str(profile), f"{server.address}web/client/page.html#{JOB}"]
    firefox = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the program that missing() found
    try:
        until = time.monotonic() + LONGEST_S
        while REPORT not in server.posted:
            if firefox.poll() is not None:
                message = f"{program} exited with status {firefox.returncode} before it posted a report"
                raise Unsupported("EF-browser-ended", message)
            if time.monotonic() > until:
                raise RuntimeError(f"the page in {program} posted no report in {LONGEST_S:.0f} s")
            time.sleep(0.02)
    finally:
        firefox.terminate()
        firefox.wait()
    report: dict[str, object] = json.loads(server.posted[REPORT])
    return report


BACKENDS: Final = {TFJS: ("wasm", "webgl", "webgpu"), ORT: ("wasm",), LITERT: ("wasm",)}
TARGETS = tuple(
    page_target(FIREFOX, _run, (engine, backend), by_default=False)
    for engine, backends in BACKENDS.items()
    for backend in backends
)
