"""Model servers that behave badly, as a program: ``python -m fakes.server FAULT --grpc-port=… …``.

exit      ends with status 1 and says why
crash     dies of SIGSEGV
taken     says that its port is taken, and ends
asleep    never listens
half_open listens, and never says a word
well      serves, with a child of its own that outlives it unless it is ended too
dies      serves, and dies of SIGKILL when it is asked anything
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


def main(fault: str, arguments: list[str]) -> None:
    options = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    port = int(options["grpc-port"])
    print("starting", fault, os.environ.get("GPUPERF_SERVER_PIDS", ""), flush=True)
    if fault == "exit":
        sys.exit('E1123 00:00:00.000000 1 server.cc:1] "no model fits"')
    if fault == "taken":
        sys.exit("bind: Address already in use")
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "half_open":
        listening = socket.create_server(("127.0.0.1", port))
        time.sleep(600)
        listening.close()
    if fault == "asleep":
        time.sleep(600)
    if path := os.environ.get("GPUPERF_SERVER_PIDS"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(path).write_text(f"{os.getpid()} {child.pid}")
    from fakes.kserve import Doubler, start  # takes a second, which those that never serve do not have

    server, _ = start(Doubler("die" if fault == "dies" else ""), port=port)
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
