"""Live progress: one status line on a terminal, rewritten in place; in CI one plain line per step, never too many.

Long steps (export, calibrate, warm-up, measure) report here. The writer and the clock are arguments, so that tests
script both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_gpuperf import units
from pytest_gpuperf.report.terminal import cut, printable

if TYPE_CHECKING:
    from pytest_gpuperf.measurement import Sampler
    from pytest_gpuperf.records import Block, Volley

REFRESH_S = 0.1
QUIET_S = 15.0
CLEAR = "\r\x1b[K"


class Watched:
    """A measuring process that ticks before each block, so that what times it need not know of progress."""

    def __init__(self, sampler: Sampler, progress: Progress) -> None:
        self._sampler = sampler
        self._progress = progress

    def measure(self, *, seconds: float, max_calls: int, core: int | None = None) -> Block:
        """Time calls, one in flight."""
        self._progress.tick()
        return self._sampler.measure(seconds=seconds, max_calls=max_calls, core=core)

    def volley(self, *, in_flight: int, seconds: float) -> Volley:
        """Keep ``in_flight`` calls outstanding."""
        self._progress.tick()
        return self._sampler.volley(in_flight=in_flight, seconds=seconds)


class Progress:
    """What is being done for which case, and for how much longer.

    Args:
        write: takes text, such as ``terminal.write`` (which must not add a newline).
        live: whether ``write`` goes to a terminal that can rewrite its line.
        width: of that terminal in columns.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        live: bool,
        width: int = 80,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._live = live
        self._width = width
        self._clock = clock
        self._case = ""
        self._phase = ""
        self._started_s = 0.0
        self._expected_s: float | None = None
        self._shown_s = float("-inf")
        self._is_drawn = False

    def start(self, case: str, phase: str, *, expected_s: float | None = None) -> None:
        """Begin a phase of a case. ``expected_s`` is how long it takes, if that is known (a time budget)."""
        self._case, self._phase, self._expected_s = case, phase, expected_s
        self._started_s = self._clock()
        self._shown_s = float("-inf") if self._live else self._started_s
        if self._live:
            self.tick()
        else:
            self._line("")

    def turn(self, phase: str, *, expected_s: float | None = None) -> None:
        """Go on to another phase of the case; in CI that is no line of its own."""
        self._phase, self._expected_s, self._started_s = phase, expected_s, self._clock()
        if self._live:
            self._shown_s = float("-inf")
            self.tick()

    def tick(self, detail: str = "") -> None:
        """Say that work goes on; cheap, and safe to call after every block of calls."""
        now_s = self._clock()
        if now_s - self._shown_s < (REFRESH_S if self._live else QUIET_S):
            return
        self._shown_s = now_s
        if self._live:
            self._write(CLEAR + cut(self._status(detail, now_s), self._width - 1))
            self._is_drawn = True
        else:
            self._line(f", {units.seconds(now_s - self._started_s)} so far" + (f", {detail}" if detail else ""))

    def say(self, message: str) -> None:
        """Print a line that stays, such as ``damaged cache entry: rebuilt``."""
        self.clear()
        self._write(f"gpuperf: {printable(message)}\n")

    def clear(self) -> None:
        """Take the status line away, so that other output starts on a clean line."""
        if self._is_drawn:
            self._write(CLEAR)
            self._is_drawn = False

    def _status(self, detail: str, now_s: float) -> str:
        spent_s = now_s - self._started_s
        clock = f"{spent_s:.0f} s"
        if self._expected_s is not None:
            clock = f"{max(0.0, self._expected_s - spent_s):.0f} s left"
        parts = (f"gpuperf {self._case}", self._phase, detail, clock)
        return printable(" | ".join(part for part in parts if part))

    def _line(self, tail: str) -> None:
        expected = f" (about {units.seconds(self._expected_s)})" if self._expected_s is not None and not tail else ""
        self._write(printable(f"gpuperf: {self._case}: {self._phase}{expected}{tail}") + "\n")
