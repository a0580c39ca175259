"""SIGTERM, as CI systems send it some seconds before SIGKILL: end as by Ctrl-C, so that results are written."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Termination:
    """Listens from :meth:`listen` to :meth:`restore`; the second signal and all after :meth:`ignore` change nothing."""

    def __init__(self) -> None:
        self._is_listening = False
        self._is_ending = False

    def listen(self) -> None:
        """Take the signal, unless somebody else has it or this is no main thread."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._end)
            self._is_listening = True

    def ignore(self) -> None:
        """The run is ending already: do not disturb what is being written."""
        self._is_ending = True

    def restore(self) -> None:
        """Give the signal back; doing so twice is harmless."""
        if self._is_listening:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._is_listening = False

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_ending:
            self._is_ending = True
            raise KeyboardInterrupt("SIGTERM")
