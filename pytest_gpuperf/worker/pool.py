"""The measuring processes of one pytest session: one per role, started when needed, replaced after a crash."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from pytest_gpuperf.worker.client import DEADLINE_S, Worker


class Pool:
    """Keeps one long-lived :class:`Worker` per role (``candidate``, ``reference``).

    Args:
        folder: where the logs go, one per role.
        interpreters: Python of a role, where it is not the parent's own.
        env: variables for every child on top of the allow-list.
        deadline_s: see :meth:`Worker.start`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        interpreters: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._folder = folder
        self._interpreters = dict(interpreters or {})
        self._env = env
        self._deadline_s = deadline_s
        self._workers: dict[str, Worker] = {}

    def worker(self, role: str) -> Worker:
        """Return the role's living process, starting one if there is none."""
        worker = self._workers.get(role)
        return worker if worker is not None and worker.is_alive else self.fresh(role)

    def fresh(self, role: str) -> Worker:
        """Return a new process for the role; the old one is ended first."""
        old = self._workers.pop(role, None)
        if old is not None:
            old.stop()
        self._workers[role] = Worker.start(
            interpreter=self._interpreters.get(role, sys.executable),
            log=self._folder / f"worker-{role}.log",
            env=self._env,
            deadline_s=self._deadline_s,
        )
        return self._workers[role]

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
