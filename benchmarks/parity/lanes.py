# SPDX-License-Identifier: Apache-2.0
"""Jobs side by side, each lane with a child process of its own; when one times, all the others stand still."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from edgeferry.models.system.child import Child
from edgeferry.models.system.cores import cores_allowed
from edgeferry.targets.quiet import GRANTED, POLL_S, WANTED

if TYPE_CHECKING:
    from psutil import Process

# A runtime with a model of 100 MB, a browser with its processes: 1 to 2 GB each.
LANE_BYTES: Final = 2 * 2**30
MOST_LANES: Final = 4
# What is timed is done by then: 33 calls of a second each, with warm-up. A job that hangs must not keep the others standing.
MOST_QUIET_S: Final = 120.0
# How long to wait for lanes to end before their processes are killed once more: one may have started after the first time.
JOIN_S: Final = 0.2

Work = TypeVar("Work")
Result = TypeVar("Result")


def lane_count() -> int:
    """Return how many jobs may run side by side here: one per core, as far as there is memory for them."""
    import psutil

    return max(1, min(cores_allowed(), MOST_LANES, int(psutil.virtual_memory().available // LANE_BYTES)))


@dataclass
class Floor:
    """What the lanes share: their children, and the lock that whoever times, starts a child or judges holds."""

    still: threading.Lock = field(default_factory=threading.Lock)
    children: list[Child] = field(default_factory=list)
    closing: bool = False

    def stop_others(self, own: Child) -> "list[Process]":
        """Stop every process of the other lanes, and return those that were stopped."""
        stopped = [each for child in self.children if child is not own for each in _processes(child)]
        for each in stopped:
            _tell(each.suspend)
        return stopped

    def end(self) -> None:
        """Kill every process of every lane."""
        self.closing = True
        for child in self.children:
            # Stopped first, so that it starts nothing more.
            for each in _processes(child):
                _tell(each.suspend)
            for each in _processes(child):
                _tell(each.kill)


def _processes(child: Child) -> "list[Process]":
    """Return a child's process and all that it started, also those in groups of their own, as browsers are."""
    import psutil

    try:
        process = psutil.Process(child.pid) if child.pid is not None else None
        return [] if process is None else [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _tell(order: Callable[[], None]) -> None:
    """Stop, resume or kill a process; one that has ended since is no error."""
    import psutil

    with suppress(psutil.Error):
        order()


@dataclass(frozen=True)
class Lane:
    """Where one job after another runs: a child process, on a floor that it shares with other lanes, or alone."""

    child: Child
    floor: Floor
    is_shared: bool = False

    def call(self, function: Callable[..., Any], *arguments: Any, work: Path, log: Path, timeout_s: float) -> Any:
        """Return what a function returns in the child; a job in the folder ``work`` that asks for a quiet machine gets it.

        Raises:
            EdgeError: the function raised it.
            ChildError: the function raised anything else, or its process ended.
        """
        if not self.is_shared:
            return self.child.call(function, *arguments, log=log, timeout_s=timeout_s)
        for name in (WANTED, GRANTED):
            (work / name).unlink(missing_ok=True)
        with self.floor.still:
            self.child.start()
        return self.child.call(function, *arguments, log=log, timeout_s=timeout_s, attend=lambda: self._attend(work))

    def _attend(self, work: Path) -> None:
        """Where the job asks for a quiet machine, let every other lane stand still until it needs that no longer."""
        wanted, granted = work / WANTED, work / GRANTED
        if not wanted.exists():
            return
        with self.floor.still:
            stopped = self.floor.stop_others(self.child)
            try:
                granted.touch()
                last = time.monotonic() + MOST_QUIET_S
                while wanted.exists() and self.child.is_busy() and time.monotonic() < last:
                    time.sleep(POLL_S)
            finally:
                granted.unlink(missing_ok=True)
                wanted.unlink(missing_ok=True)
                for each in stopped:
                    _tell(each.resume)


class SideBySide(Generic[Work, Result]):
    """Runs pieces of work in lanes; those of one group, which share imports, stay in one lane as long as there are others."""

    def __init__(
        self, lanes: int, group_of: Callable[[Work], str], run: Callable[[Work, Lane], Result], child: Child | None = None
    ) -> None:
        """Prepare lanes; ``run`` runs a piece of work in a lane, in a thread of its own, or all of it in one ``child``."""
        self._lanes, self._group_of, self._run, self._child = 1 if child else lanes, group_of, run, child
        self._waiting: list[Work] = []
        self._busy: list[str] = []
        self._turn = threading.Lock()
        self._done: queue.Queue[Result | BaseException | None] = queue.Queue()
        self._floor = Floor()

    def results(self, work: Sequence[Work]) -> Iterator[Result]:
        """Yield each result as soon as it is there; an error, or the end of this iterator, ends everything that still runs."""
        self._waiting = list(work)
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(min(self._lanes, len(self._waiting)))]
        for thread in threads:
            thread.start()
        ended = 0
        try:
            while ended < len(threads):
                found = self._done.get()
                if isinstance(found, BaseException):
                    raise found
                if found is None:
                    ended += 1
                else:
                    yield found
        finally:
            is_early = ended < len(threads)
            while is_early and any(thread.is_alive() for thread in threads):
                self._floor.end()
                threads[0].join(JOIN_S)
            for thread in threads:
                thread.join()

    def _serve(self) -> None:
        """Run one piece of work after another, in a child that lives as long as a group."""
        group, child = "", self._child or Child()
        try:
            while (each := self._next(group)) is not None:
                if self._group_of(each) != group and self._child is None:
                    child = self._replaced(child)
                group = self._group_of(each)
                result = self._run(each, Lane(child, self._floor, is_shared=self._lanes > 1))
                if not self._floor.closing:
                    self._done.put(result)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for results
            self._done.put(error)
        finally:
            if self._child is None:
                child.stop()
            self._done.put(None)

    def _replaced(self, old: Child) -> Child:
        """Return a new child in the place of an old one, which is ended."""
        new = Child()
        self._floor.children = [*(each for each in self._floor.children if each is not old), new]
        old.stop()
        return new

    def _next(self, group: str) -> Work | None:
        """Return what to run next after a group: more of it, else of a group that no other lane runs, else anything.

        One lane alone runs everything in the order in which it was given.
        """
        with self._turn:
            if group in self._busy:
                self._busy.remove(group)
            if not self._waiting or self._floor.closing:
                return None

            def preference(each: Work) -> int:
                name = self._group_of(each)
                return 0 if name == group else 1 if name not in self._busy else 2

            chosen = min(self._waiting, key=preference) if self._lanes > 1 else self._waiting[0]
            self._waiting.remove(chosen)
            self._busy.append(self._group_of(chosen))
            return chosen
