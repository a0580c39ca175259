"""A server of one lane that needs the same time for every request: what M/D/1 describes, and what can go wrong on top.

Asked in LoadGen's own process, so that nothing but the load generator stands between schedule and measurement.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

Finish = tuple[float, Callable[[], None]]


class Lane:
    """Answers in order, each request ``service_ms`` after the one before it or after its own arrival.

    Args:
        service_ms: of every request.
        stall_at, stall_ms: before this request (counted from 0) the lane stands still for this long; with
            ``holds_issuer`` it is the thread that asks.
        swallow: a request that is never answered; ``all`` swallows every one.
        garble: a request whose answer is wrong.
        refuse: every how many-th request fails at once.
    """

    samples = 16

    def __init__(
        self,
        *,
        service_ms: str = "5",
        stall_at: str = "-1",
        stall_ms: str = "0",
        holds_issuer: str = "no",
        swallow: str = "-1",
        garble: str = "-1",
        refuse: str = "0",
    ) -> None:
        self._service_s, self._stall_s = float(service_ms) / 1e3, float(stall_ms) / 1e3
        self._stall_at, self._holds_issuer = int(stall_at), holds_issuer == "yes"
        self._swallow, self._garble, self._refuse = swallow, int(garble), int(refuse)
        self._free_at = 0.0
        self._count = itertools.count()
        self._finish: SimpleQueue[Finish | None] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, index: int, done: Callable[[], None], fault: Callable[[str], None]) -> None:
        number = next(self._count)
        if number == self._stall_at:
            if self._holds_issuer:
                time.sleep(self._stall_s)
            else:
                self._free_at = max(self._free_at, time.monotonic()) + self._stall_s
        if self._swallow in ("all", str(number)):
            return
        if self._refuse and number % self._refuse == 0:
            fault("unavailable")
            done()
            return
        self._free_at = max(self._free_at, time.monotonic()) + self._service_s
        self._finish.put((self._free_at, done))
        if number == self._garble:
            fault("wrong")

    def close(self) -> None:
        self._finish.put(None)

    def _run(self) -> None:
        while (item := self._finish.get()) is not None:
            at, done = item
            time.sleep(max(0.0, at - time.monotonic()))
            done()
