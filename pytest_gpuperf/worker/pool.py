"""The measuring processes of one pytest session: one per role, started when needed, replaced after a crash."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pytest_gpuperf.worker.client import DEADLINE_S, Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a measuring process is started, where it is not the candidate's way.

    Attributes:
        interpreter: Python to run; it needs this package, msgspec and NumPy, and what the engine needs.
        env: variables on top of the allow-list, see :mod:`pytest_gpuperf.worker.environment`.
        cwd: working folder, ``None`` for the parent's.
    """

    interpreter: str = sys.executable
    env: Mapping[str, str] | None = None
    cwd: Path | None = None


class Pool:
    """Keeps one :class:`Worker` per role: ``candidate`` and ``reference`` live long, a live pair's two do not.

    Args:
        folder: where the logs go, one per role.
        env: variables for every child on top of the allow-list.
        deadline_s: see :meth:`Worker.start`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._folder = folder
        self._env = env
        self._deadline_s = deadline_s
        self._workers: dict[str, Worker] = {}

    def worker(self, role: str) -> Worker:
        """Return the role's living process, starting one if there is none."""
        worker = self._workers.get(role)
        return worker if worker is not None and worker.is_alive else self.fresh(role)

    def fresh(self, role: str, launch: Launch | None = None) -> Worker:
        """Return a new process for the role, started that way; the old one is ended first."""
        self.end(role)
        launch = launch or Launch()
        self._workers[role] = Worker.start(
            interpreter=launch.interpreter,
            log=self._folder / f"worker-{role}.log",
            env={**(self._env or {}), **(launch.env or {})},
            cwd=launch.cwd,
            deadline_s=self._deadline_s,
        )
        return self._workers[role]

    def end(self, role: str) -> None:
        """End the role's process, if there is one."""
        old = self._workers.pop(role, None)
        if old is not None:
            old.stop()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of all roles."""
        return tuple(worker.pid for worker in self._workers.values())

    def stop(self) -> None:
        """End all processes; the pool can be used again."""
        while self._workers:
            self._workers.popitem()[1].stop()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
