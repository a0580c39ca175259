"""NVIDIA Triton as a child: started on a free loopback port, waited for, watched, and never left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from pytest_gpuperf.errors import ConfigError, WorkerError
from pytest_gpuperf.serving import repository
from pytest_gpuperf.serving.kserve import Client
from pytest_gpuperf.worker import death, environment

READY_S = 120.0
#: How often another port is tried when somebody took the first one between our look and the server's.
PORTS = 3
#: glog's mark of errors; that there is no CUDA driver is none.
_COMPLAINT = re.compile(r"E\d{4} .*\] \"(?!CudaDriverHelper)|error:|.*(Address already in use|No space left)")
_TERM_S, _KILL_S = 5.0, 5.0
_POLL_S = 0.05
#: What servers say of a port that is taken.
_TAKEN = ("address already in use", "failed to start grpc", "unable to bind")


class Triton:
    """A running server. Made by :meth:`start`; ended by :meth:`stop`, by its own death, or with this process.

    Attributes:
        url: ``grpc://127.0.0.1:PORT``.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self._process = process
        self._log = log
        self.url = url

    @classmethod
    def start(
        cls,
        models: Path,
        backends: Path,
        *,
        model: str,
        log: Path,
        ready_s: float = READY_S,
        command: Sequence[str] = (),
    ) -> Triton:
        """Start a server and wait until it would answer requests.

        Args:
            models: the model repository.
            backends: folder of its backends.
            model: what must be ready.
            log: file that the server's output is written to.
            ready_s: seconds that it may take.
            command: the server, by default the one that ``nvidia-pytriton`` brings; gets Triton's options.

        Raises:
            WorkerError: it ended, crashed or was not ready in time; with the end of its log.
        """
        program = list(command) or [str(repository.distribution() / "bin" / "tritonserver")]
        for attempt in range(PORTS):
            server = cls._spawn(program, models, backends, log)
            try:
                server.await_ready(model, ready_s)
            except BaseException:
                is_taken = any(words in line.lower() for line in death.tail(log) for words in _TAKEN)
                server.stop()
                if not is_taken or attempt == PORTS - 1:
                    raise
            else:
                return server
        raise AssertionError("unreachable")

    @classmethod
    def _spawn(cls, program: list[str], models: Path, backends: Path, log: Path) -> Triton:
        port = _free_port()
        options = {
            "model-repository": models,
            "backend-directory": backends,
            "grpc-address": "127.0.0.1",
            "grpc-port": port,
            "allow-http": "false",
            "allow-metrics": "false",
            "exit-timeout-secs": int(_TERM_S) - 1,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - the program is ours, or the user's own choice
                    [sys.executable, "-m", "pytest_gpuperf.serving.guard", *program, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment.build(sys.executable, _variables()),
                    start_new_session=True,
                )
            except OSError as error:
                raise ConfigError("the model server cannot be started", got=str(error)) from error
        return cls(process, f"grpc://127.0.0.1:{port}", log)

    def __enter__(self) -> Triton:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id, which is the id of its process group too."""
        return self._process.pid

    def check(self) -> None:
        """Raise :class:`WorkerError` if the server has ended."""
        if (status := self._process.poll()) is not None:
            raise WorkerError(f"the model server {death.describe(status)}", **self._evidence())

    def stop(self) -> None:
        """End the server and all that it started; stopping twice is harmless."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_TERM_S)
        self._signal(signal.SIGKILL)  # what the server started is in its group, and may have outlived it
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_S)

    def await_ready(self, model: str, ready_s: float) -> None:
        """Wait until the server would answer requests; raises :class:`WorkerError` when it ends or takes too long."""
        deadline = time.monotonic() + ready_s
        with Client(self.url) as client:
            while not client.is_ready(model):
                self.check()
                if time.monotonic() > deadline:
                    raise WorkerError(f"the model server was not ready within {ready_s:g} s", **self._evidence())
                time.sleep(_POLL_S)

    def _evidence(self) -> dict[str, str | None]:
        lines = _complaints(self._log) or death.tail(self._log)
        return {"got": "\n            ".join(lines) or None, "hint": f"its whole log is {self._log}"}

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _complaints(log: Path) -> list[str]:
    """Return the last errors that Triton logged, where there are any; its very last lines are about shutting down."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line[:400] for line in lines if _COMPLAINT.match(line)][-4:]


def _variables() -> dict[str, str]:
    """Return what Triton's Python backend needs: the library of the Python that it embeds, and its program first."""
    libraries = [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH")]
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH")]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        "PATH": os.pathsep.join(filter(None, programs)),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
