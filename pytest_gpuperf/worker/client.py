"""The parent's side: start a measuring process, ask it, and end it whatever it does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pytest_gpuperf import errors
from pytest_gpuperf.errors import ConfigError, EngineError, GpuPerfError, WorkerError
from pytest_gpuperf.records import Artefact, BatchSpec, Block, EngineInfo, EngineSpec, Steady, Volley
from pytest_gpuperf.worker import death, environment
from pytest_gpuperf.worker import protocol as p
from pytest_gpuperf.worker.channel import Channel, ClosedError, DeadlineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

R = TypeVar("R", bound=p.Message)
Progress = Callable[[str], None]

#: Seconds a request may take beyond the time that it was told to measure.
DEADLINE_S = 300.0
#: Seconds for making an artefact and loading it; a cold export of a large model takes minutes.
OPEN_DEADLINE_S = 1800.0
START_DEADLINE_S = 60.0
# Ending a hang: time for the stack dump, then for SIGTERM to work. Together well below five seconds.
_DUMP_S, _TERM_S, _KILL_S = 0.5, 1.5, 2.0


class Worker:
    """One measuring process. Made by :meth:`start`; ended by :meth:`stop`, by its own death, or by a missed deadline.

    Every method raises :class:`WorkerError` when the process died, hung or broke the protocol, :class:`ConfigError`
    when the input is at fault, and :class:`EngineError` when the engine failed. After a :class:`WorkerError` or an
    :class:`EngineError` the process has been ended: what a failed engine leaves behind (memory, a poisoned CUDA
    context) must not reach the next test.

    Attributes:
        labels: of the input set of the open engine, ``(samples,)``, or ``None``.
        inputs_digest: of the arrays that feed the open engine.
        has_built: whether the process has converted a model since it was started.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel, *, log: Path, deadline_s: float) -> None:
        self._process = process
        self._channel = channel
        self._log = log
        self._log_start = 0
        self._deadline_s = deadline_s
        self._activity = "started"
        self._is_ended = False
        self.labels: NDArray[np.generic] | None = None
        self.inputs_digest = ""
        self.has_built = False

    @classmethod
    def start(
        cls,
        *,
        interpreter: str = sys.executable,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Worker:
        """Start ``python -m pytest_gpuperf.worker`` and wait for its first words.

        The calling thread must outlive the worker: Linux ties the child's life to the thread that started it.

        Args:
            interpreter: Python to run; it needs this package, msgspec and NumPy, and what the engine needs.
            log: file that standard output and error of the child are appended to.
            env: variables on top of the allow-list, see :mod:`pytest_gpuperf.worker.environment`.
            cwd: working folder, ``None`` for the parent's.
            deadline_s: seconds that a request may take beyond the time that it was told to measure.
        """
        ours, theirs = socket.socketpair()
        log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, log.open("ab") as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - the interpreter is the user's own choice
                    [interpreter, "-m", __package__ or "", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment.build(interpreter, env),
                    cwd=cwd,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise ConfigError("the measuring process cannot be started", got=str(error)) from error
        worker = cls(process, Channel(ours), log=log, deadline_s=deadline_s)
        hello = worker._receive(p.Hello, START_DEADLINE_S, _ignore)
        if hello.version != p.VERSION:
            worker._end()
            raise WorkerError(
                "the measuring process speaks another protocol version",
                got=f"version {hello.version} under {interpreter}",
                expected=f"version {p.VERSION}",
                hint="install the same pytest-gpuperf for both interpreters",
            )
        return worker

    @property
    def pid(self) -> int:
        """Process id, which is the id of its process group too."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process can be asked."""
        return not self._is_ended and self._process.poll() is None

    def open(
        self,
        spec: EngineSpec,
        batches: BatchSpec,
        *,
        cache: Path,
        progress: Progress,
        bundle: Path | None = None,
        artefact: Artefact | None = None,
        deadline_s: float | None = None,
    ) -> EngineInfo:
        """Make the artefact, or take the given one or the bundle's; load the engine and bind all batches.

        An engine that is open is closed first.
        """
        folder = None if bundle is None else str(bundle)
        request = p.Open(spec=spec, batches=batches, cache=str(cache), bundle=folder, artefact=artefact)
        deadline_s = deadline_s or max(OPEN_DEADLINE_S, self._deadline_s)
        reply = self._ask(request, p.Opened, f"opened {spec.kind}", deadline_s, progress)
        self.inputs_digest = reply.inputs_digest
        self.labels = None if reply.labels is None else p.unpack(reply.labels)
        self.has_built = self.has_built or reply.has_built
        return reply.info

    def evaluate(self) -> dict[str, NDArray[np.generic]]:
        """Return the outputs over the whole input set, each ``(samples, …)``."""
        reply = self._ask(p.Evaluate(), p.Evaluated, "evaluated", self._deadline_s)
        return {name: p.unpack(array) for name, array in reply.outputs.items()}

    def warm_up(self, *, max_s: float) -> Steady:
        """Run until latency is steady, or for ``max_s`` seconds; the result says which."""
        return self._ask(p.WarmUp(max_s=max_s), p.WarmedUp, "warmed up", max_s + self._deadline_s).steady

    def measure(self, *, seconds: float, max_calls: int, core: int | None = None) -> Block:
        """Time calls over the rotating batches, one in flight, at least one; the calling thread stays on ``core``."""
        request = p.Measure(seconds=seconds, max_calls=max_calls, core=core)
        return self._ask(request, p.Timed, "measured latency", seconds + self._deadline_s).block

    def volley(self, *, in_flight: int, seconds: float) -> Volley:
        """Keep ``in_flight`` calls outstanding for ``seconds``."""
        request = p.Saturate(in_flight=in_flight, seconds=seconds)
        return self._ask(request, p.Saturated, "measured throughput", seconds + self._deadline_s).volley

    def profile(self, *, calls: int) -> dict[str, float]:
        """Return how long each layer takes, in milliseconds, see :meth:`Engine.profile`; time nothing afterwards."""
        return self._ask(p.Profile(calls=calls), p.Profiled, "timed its layers", self._deadline_s).layers

    def close(self) -> None:
        """Free the engine; the process stays for the next one."""
        self._ask(p.Close(), p.Closed, "freed the engine", self._deadline_s)

    def stop(self) -> None:
        """End the process and all that it started; stopping twice is harmless."""
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_TERM_S)
        self._end()

    def _ask(
        self, request: p.Request, reply: type[R], activity: str, deadline_s: float, progress: Progress | None = None
    ) -> R:
        if not self.is_alive:
            self._activity = "was idle"
            raise self._died()
        self._activity = activity
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        with suppress(ClosedError):  # the child is dead: receiving says how
            self._channel.send(p.encode(request), deadline=time.monotonic() + deadline_s)
        return self._receive(reply, deadline_s, progress or _ignore)

    def _receive(self, expected: type[R], deadline_s: float, progress: Progress) -> R:
        try:
            return self._await(expected, time.monotonic() + deadline_s, progress)
        except ConfigError:
            raise
        except ClosedError:
            raise self._died() from None
        except DeadlineError:
            raise self._hung(deadline_s) from None
        except BaseException:  # also Ctrl-C in the middle of a conversation: the next reply would be the wrong one
            self._end()
            raise

    def _await(self, expected: type[R], deadline: float, progress: Progress) -> R:
        while True:
            reply = p.decode_reply(self._channel.receive(deadline=deadline))
            if isinstance(reply, expected):
                return reply
            if isinstance(reply, p.Failed):
                raise self._rebuild(reply)
            if not isinstance(reply, p.Progress):
                raise WorkerError(
                    "the measuring process broke the protocol", got=type(reply).__name__, expected=expected.__name__
                )
            progress(reply.text)

    def _rebuild(self, reply: p.Failed) -> GpuPerfError:
        kind = getattr(errors, reply.kind, None)
        if not (isinstance(kind, type) and issubclass(kind, GpuPerfError)):
            kind = EngineError
        return kind(
            reply.what, got=reply.got, expected=reply.expected, hint=reply.hint or f"its traceback is in {self._log}"
        )

    def _died(self) -> WorkerError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_S)
        status = self._process.poll()
        self._end()
        how = "closed its connection" if status is None else death.describe(status)
        return WorkerError(f"the measuring process {how} while it {self._activity}", **self._evidence())

    def _hung(self, deadline_s: float) -> WorkerError:
        self._signal(signal.SIGUSR1)  # faulthandler dumps the stacks of all threads, even under a native deadlock
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_DUMP_S)
        self._end()
        return WorkerError(
            f"the measuring process did not answer within {deadline_s:g} s while it {self._activity}; it was ended",
            **self._evidence(),
        )

    def _evidence(self) -> dict[str, str | None]:
        lines = death.tail(self._log, start=self._log_start)
        return {"got": "\n            ".join(lines) or None, "hint": f"its whole log is {self._log}"}

    def _end(self) -> None:
        """SIGTERM, then SIGKILL, both to the whole process group; reap the child."""
        if self._is_ended:  # the process id may belong to somebody else by now
            return
        self._is_ended = True
        self._channel.close()
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_TERM_S)
        self._signal(signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_S)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _ignore(text: str) -> None:
    """Drop a line of progress."""
