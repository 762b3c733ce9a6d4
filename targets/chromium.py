# SPDX-License-Identifier: Apache-2.0
"""TensorFlow.js graph models in a headless Chromium of this machine, on the wasm backend."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from targets.installed import file_told, needs, versions_of
from targets.page_server import page_server
from targets.target import Job, Run, Target, Unsupported
from targets.tfjs import SCORES, WEB, hand_over, packages, packages_missing, taken_back

if TYPE_CHECKING:
    from playwright.sync_api import Page

VARIABLE: Final = "EDGEFERRY_CHROMIUM"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Beyond Playwright's own: nothing that looks for a network, and no GPU, which the wasm backend does not use.
FLAGS: Final = ("--disable-gpu", "--disable-quic", "--disable-sync", "--no-proxy-server")
FLOAT_BYTES: Final = 4


def _executable() -> str | None:
    named = os.environ.get(VARIABLE)
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def _missing() -> str | None:
    if _executable() is not None:
        return needs("playwright")() or packages_missing()
    if named := os.environ.get(VARIABLE):
        return f"{VARIABLE} names {named}, which is not a program here; install it, or unset it"
    return f"no Chromium or Chrome is on PATH (looked for {', '.join(NAMES)}): install one, or name it in {VARIABLE}"


def _versions() -> Mapping[str, str]:
    return {**packages(), **versions_of("playwright"), "chromium": file_told(_executable())}


def _run(job: Job) -> Run:
    described = hand_over(job)
    largest = len(job.images()) * len(job.artifact.labels) * FLOAT_BYTES * 2
    with page_server({"web": WEB, "artifact": job.folder, "work": job.work}, largest) as server, _page() as page:
        page.goto(f"{server.address}web/page.html")
        report: dict[str, Any] = page.evaluate("job => runInPage(job)", described)
        return taken_back(job, report, server.posted[SCORES])


@contextmanager
def _page() -> "Iterator[Page]":
    """Yield a page of a browser that ends with the block; an error tells what the page said too."""
    from playwright.sync_api import Error, sync_playwright

    said: list[str] = []
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=_executable(), headless=True, args=list(FLAGS))
        except Error as error:
            raise Unsupported(f"{_executable()} does not start: {error.message.splitlines()[0]}") from error
        try:
            page = browser.new_page()
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
            yield page
        except Error as error:
            # One line: it is what the row will say.
            raise RuntimeError(
                "; ".join([error.message.splitlines()[0].removeprefix("Page.evaluate: "), *dict.fromkeys(said)])
            ) from error
        finally:
            browser.close()


TARGETS = (
    Target(
        name="chromium-wasm",
        summary="headless Chromium, by TensorFlow.js",
        reads=frozenset({"tfjs"}),
        missing=_missing,
        run=_run,
        versions=_versions,
    ),
)
