# SPDX-License-Identifier: Apache-2.0
"""A browser of this machine, driven by Playwright, and jobs run in a page of it."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.targets.host.installed import file_identity, needs, versions_of
from edgeferry.targets.target import Job, Run, Unsupported
from edgeferry.targets.web.javascript import SCORES, WEB, Engine, hand_over, taken_back
from edgeferry.targets.web.page_server import page_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Opened
    from playwright.sync_api import Page, Playwright

FLOAT_BYTES: Final = 4


@dataclass(frozen=True)
class Browser:
    """A kind of browser: the variable that names another program or channel of it, the programs looked for, its flags.

    ``channels`` are Playwright's names for what a vendor installs in places of its own.
    """

    title: str
    variable: str
    programs: tuple[str, ...]
    channels: tuple[str, ...]
    flags: tuple[str, ...]

    def program(self) -> str | None:
        """Return the path of the program, or None where there is none or a channel is named."""
        named = os.environ.get(self.variable)
        return shutil.which(named) if named else next(filter(None, map(shutil.which, self.programs)), None)

    def channel(self) -> str | None:
        """Return the channel that the variable names, if it does."""
        named = os.environ.get(self.variable)
        return named if named in self.channels else None

    def missing(self) -> str | None:
        """Return None where a browser can be driven here, else why not and how to change it."""
        return self.program_missing() or needs("playwright")()

    def program_missing(self) -> str | None:
        """Return None where there is such a browser here, else why not and how to change it."""
        if self.program() or self.channel():
            return None
        if named := os.environ.get(self.variable):
            return f"{self.variable} names {named}, which is not a program here; install it, or unset it"
        looked = ", ".join(self.programs)
        return f"no {self.title} is on PATH (looked for {looked}): install one, or name it in {self.variable}"

    def versions(self) -> Mapping[str, str]:
        """Return what its results depend on."""
        return {**versions_of("playwright"), "browser": self.channel() or file_identity(self.program())}

    @contextmanager
    def page(self, flags: tuple[str, ...] = ()) -> "Iterator[Page]":
        """Yield a page of a browser that ends with the block; an error tells what the page said too.

        Raises:
            Unsupported: the browser does not start.
            RuntimeError: what was done in the page failed.
        """
        from playwright.sync_api import Error, sync_playwright

        said: list[str] = []
        with sync_playwright() as playwright:
            try:
                browser = self._opened(playwright, flags)
            except Error as error:
                raise Unsupported(f"{self.program()} does not start: {error.message.splitlines()[0]}") from error
            try:
                page = browser.new_page()
                page.on("pageerror", lambda error: said.append(str(error)))
                page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
                yield page
            except Error as error:
                # One line: it is what the row will say.
                first = error.message.splitlines()[0].removeprefix("Page.evaluate: ")
                raise RuntimeError("; ".join([first, *dict.fromkeys(said)])) from error
            finally:
                browser.close()

    def _opened(self, playwright: "Playwright", flags: tuple[str, ...]) -> "Opened":
        return playwright.chromium.launch(
            executable_path=self.program(), channel=self.channel(), headless=True, args=[*self.flags, *flags]
        )


def run_in(browser: Browser, flags: tuple[str, ...], engine: Engine, backend: str, job: Job) -> Run:
    """Return what an engine makes of a job on one of its backends, in a new page."""
    described = hand_over(job, engine, backend)
    with page_server(shown_to(job), largest_post(job)) as server, browser.page(flags) as page:
        page.goto(f"{server.address}web/client/page.html")
        report: dict[str, Any] = page.evaluate("job => runInPage(job)", described)
        return taken_back(job, report, lambda: server.posted[SCORES])


def shown_to(job: Job) -> dict[str, Path]:
    """Return the folders that the page of a job is shown, by name."""
    return {"web": WEB, "artifact": job.folder, "work": job.work}


def largest_post(job: Job) -> int:
    """Return how many bytes of scores a page may hand over: twice as many as there should be."""
    return len(job.images()) * len(job.artifact.labels) * FLOAT_BYTES * 2
