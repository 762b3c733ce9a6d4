# SPDX-License-Identifier: Apache-2.0
"""What the server takes on: how many requests wait, and how many bytes of their bodies are in memory.

Sockets are not counted here: an open connection without a request costs a few kilobytes, and its time is limited.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

Returned = TypeVar("Returned")

# What a request is advised to wait where it is refused: a full queue is worked off in less.
RETRY_AFTER_S: Final = 1


class Refusal(Exception):  # noqa: N818 - a reply, not an accident
    """A request that is not served: the HTTP status, and why, as a client reads it."""

    def __init__(self, status: int, reason: str) -> None:
        """Take the status and the reason."""
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass
class Load:
    """How many requests are computed or wait, and how many bytes of bodies are in memory; only the event loop changes it."""

    requests: int = 0
    bytes_held: int = 0


class Admission:
    """Workers, the requests that wait for them, and the memory of their bodies."""

    def __init__(self, workers: int, waiting: int, most_bytes_held: int) -> None:
        """Take how many requests are computed at once, how many may wait, and how many bytes their bodies may have."""
        self.load = Load()
        self._most, self._most_bytes = workers + waiting, most_bytes_held
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._unpacking = threading.Lock()

    def refuse_if_full(self) -> None:
        """Refuse a request before its body is read where it could not wait for a worker."""
        if self.load.requests >= self._most:
            raise Refusal(503, f"{self._most} requests are waiting or computed already; try again later")

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts bytes taken into memory, until the block ends; it refuses those that are too many."""
        mine = 0

        def take(count: int) -> None:
            nonlocal mine
            if self.load.bytes_held + count > self._most_bytes:
                raise Refusal(503, f"the bodies of all requests have {self._most_bytes} bytes already; try again later")
            mine += count
            self.load.bytes_held += count

        try:
            yield take
        finally:
            self.load.bytes_held -= mine

    async def run(self, call: Callable[[], Returned], *, is_quick: bool = False) -> tuple[Returned, float]:
        """Return what a call returns, made by a worker, and the milliseconds that it waited for one.

        A quick call is made at once by the event loop: to hand it to another thread would take longer than the call.

        Raises:
            Refusal: too many wait already.
        """
        self.refuse_if_full()
        if is_quick:
            return call(), 0.0
        start = time.perf_counter_ns()

        def timed() -> tuple[Returned, float]:
            waited_ms = (time.perf_counter_ns() - start) / 1e6
            return call(), waited_ms

        self.load.requests += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, timed)
        finally:
            self.load.requests -= 1

    @contextmanager
    def alone(self, *, large: bool) -> Iterator[None]:
        """Let a worker wait until no other unpacks something large, so that only one such is in memory many times over."""
        if not large:
            yield
            return
        with self._unpacking:
            yield
