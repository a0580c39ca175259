"""The child: ``python -m pytest_gpuperf.worker FD`` serves the protocol on an inherited socket until it closes."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import platform
import signal
import socket
import sys

from pytest_gpuperf.worker.channel import Channel
from pytest_gpuperf.worker.protocol import VERSION, Hello, encode
from pytest_gpuperf.worker.server import Server

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> int:
    """Serve until the parent is gone; the exit status is 0."""
    if len(arguments) != 1 or not arguments[0].isdigit():
        sys.stderr.write("usage: python -m pytest_gpuperf.worker FD (started by pytest-gpuperf, not by hand)\n")
        return 2
    faulthandler.enable(all_threads=True)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    _die_with_parent()
    channel = Channel(socket.socket(fileno=int(arguments[0])))
    channel.send(encode(Hello(version=VERSION, pid=os.getpid(), python=platform.python_version())))
    Server(channel).serve()
    return 0


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent dies; the closed socket alone cannot end a hang in native code."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
