# SPDX-License-Identifier: Apache-2.0
"""A browser on this machine, the targets in its pages, and jobs that run in a page driven by Playwright."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.system.packages import versions_of
from edgeferry.targets.host.installed import file_identity, needs
from edgeferry.targets.quiet import ask, release
from edgeferry.targets.target import Job, Run, Target, Unsupported
from edgeferry.targets.web.javascript import SCORES, TFJS, WEB, Engine, describe_job, read_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Opened
    from playwright.sync_api import Page, Playwright

FLOAT_BYTES: Final = 4


@dataclass(frozen=True)
class Browser:
    """A kind of browser: the variable that names another program or channel of it, the programs searched for, its flags.

    ``channels`` are Playwright's names for browsers that a vendor installs in its own places; ``modules`` are the Python packages
    that drive it.
    """

    name: str
    title: str
    variable: str
    programs: tuple[str, ...]
    channels: tuple[str, ...]
    flags: tuple[str, ...]
    modules: tuple[str, ...] = ("playwright",)

    def program(self) -> str | None:
        """Return the path of the program, or None where there is none or a channel is named."""
        named = os.environ.get(self.variable)
        return shutil.which(named) if named else next(filter(None, map(shutil.which, self.programs)), None)

    def channel(self) -> str | None:
        """Return the channel that the variable names, or None."""
        named = os.environ.get(self.variable)
        return named if named in self.channels else None

    def missing(self) -> str | None:
        """Return None where the browser can be used here, else why not and what to install."""
        if self.program() or self.channel():
            return next(filter(None, (needs(module)() for module in self.modules)), None)
        if named := os.environ.get(self.variable):
            return f"{self.variable} names {named}, which is not a program on this machine: install it, or unset the variable"
        searched = ", ".join(self.programs)
        return f"no {self.title} is on PATH (searched for {searched}): install one, or name it in {self.variable}"

    def versions(self) -> Mapping[str, str]:
        """Return what its results depend on."""
        return {**versions_of(*self.modules), "browser": self.channel() or file_identity(self.program())}

    @contextmanager
    def page(self, flags: tuple[str, ...] = ()) -> "Iterator[Page]":
        """Yield a page of a browser that ends with the block; an error includes the errors that the page printed.

        Raises:
            Unsupported: the browser does not start.
            RuntimeError: a call in the page failed.
        """
        from playwright.sync_api import Error, sync_playwright

        printed: list[str] = []
        with sync_playwright() as playwright:
            try:
                browser = self._opened(playwright, flags)
            except Error as error:
                message = f"{self.program()} does not start: {error.message.splitlines()[0]}"
                raise Unsupported("EF-browser-not-started", message) from error
            try:
                page = browser.new_page()
                page.on("pageerror", lambda error: printed.append(str(error)))
                page.on("console", lambda message: printed.append(message.text) if message.type == "error" else None)
                yield page
            except Error as error:
                # One line, for the row of the report.
                first = error.message.splitlines()[0].removeprefix("Page.evaluate: ")
                raise RuntimeError("; ".join([first, *dict.fromkeys(printed)])) from error
            finally:
                browser.close()

    def _opened(self, playwright: "Playwright", flags: tuple[str, ...]) -> "Opened":
        return playwright.chromium.launch(
            executable_path=self.program(), channel=self.channel(), headless=True, args=[*self.flags, *flags]
        )


def run_in(browser: Browser, flags: tuple[str, ...], engine: Engine, backend: str, job: Job) -> Run:
    """Return the run of a job by an engine on one of its backends, in a new page."""
    # Its server takes a while to import, and most commands open no page.
    from edgeferry.targets.web.page_server import page_server

    described = describe_job(job, engine, backend)
    with page_server(folders_of(job), largest_post(job)) as server, browser.page(flags) as page:
        page.expose_function("askForQuiet", partial(ask, job.work))
        page.expose_function("releaseQuiet", partial(release, job.work))
        page.goto(f"{server.address}web/client/page.html")
        report: dict[str, Any] = page.evaluate("job => runInPage(job)", described)
        return read_report(job, report, lambda: server.posted[SCORES])


def folders_of(job: Job) -> dict[str, Path]:
    """Return the folders that the page of a job can read, by name."""
    return {"web": WEB, "artifact": job.folder, "work": job.work}


def largest_post(job: Job) -> int:
    """Return how many bytes of scores a page may post: twice as many as expected."""
    return len(job.images()) * len(job.artifact.labels) * FLOAT_BYTES * 2


def page_target(
    browser: Browser, run: Callable[..., Run], place: tuple[Engine, str], *, by_default: bool, side_by_side: bool = False
) -> Target:
    """Return the target of a place, an engine on one of its backends, in a browser; ``run`` runs a job there."""
    engine, backend = place
    in_the_browser = backend if engine is TFJS else f"{engine.name}-{backend}"
    return Target(
        name=f"{browser.name}-{in_the_browser}",
        summary=f"headless {browser.name.capitalize()}, by {engine.title} on {backend}",
        reads=frozenset({engine.reads}),
        missing=lambda: browser.missing() or engine.missing(),
        run=partial(run, engine=engine, backend=backend),
        versions=lambda: {**engine.versions(), **browser.versions()},
        by_default=by_default,
        side_by_side=side_by_side,
    )
