"""The child: ``python -m pytest_gpuperf.worker FD`` serves the protocol on an inherited socket until it closes."""

from __future__ import annotations

import faulthandler
import os
import platform
import signal
import socket
import sys

from pytest_gpuperf.worker.channel import Channel
from pytest_gpuperf.worker.leash import die_with_parent
from pytest_gpuperf.worker.protocol import VERSION, Hello, encode
from pytest_gpuperf.worker.server import Server


def main(arguments: list[str]) -> int:
    """Serve until the parent is gone; the exit status is 0."""
    if len(arguments) != 1 or not arguments[0].isdigit():
        sys.stderr.write("usage: python -m pytest_gpuperf.worker FD (started by pytest-gpuperf, not by hand)\n")
        return 2
    faulthandler.enable(all_threads=True)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    die_with_parent()
    channel = Channel(socket.socket(fileno=int(arguments[0])))
    channel.send(encode(Hello(version=VERSION, pid=os.getpid(), python=platform.python_version())))
    Server(channel).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
