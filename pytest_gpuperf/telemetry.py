"""Telemetry of the machine while cases run: starts the sampler process and answers for any window of time."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterable
from types import TracebackType
from typing import IO

from pytest_gpuperf import window
from pytest_gpuperf.errors import InfraError
from pytest_gpuperf.records import Timeline

GPU_HZ = 20.0
#: On a CPU the sampler shares the cores that are being measured, so it reads less often.
CPU_HZ = 5.0
_MARGIN_NS = 3_000_000_000


class Sampler:
    """A running sampler process and what it has written so far.

    The process writes to an unnamed file that the parent reads when asked, so that a sampler that hangs or dies loses
    nothing that it had seen, and the measuring parent needs no thread.
    """

    def __init__(self, process: subprocess.Popen[str], output: IO[str], hz: float, memory: str = "rss_mib") -> None:
        self._memory = memory
        self._process = process
        self._output = output
        self._hz = hz
        self._rest = ""
        self._rows: list[dict[str, float]] = []
        #: NVML or kernel calls that hung and are no longer made.
        self.hung: list[str] = []

    @classmethod
    def start(
        cls, pids: Iterable[int] = (), device: str | None = None, *, hz: float | None = None, deadline_s: float = 1.0
    ) -> Sampler:
        """Start sampling.

        Args:
            pids: the processes under measurement (their memory and CPU time are summed, others are foreign).
            device: UUID of a GPU, or ``None`` for the host alone.
            hz: samples per second; :data:`GPU_HZ` with a device, else :data:`CPU_HZ`.
            deadline_s: a single call that takes longer is given up.

        Raises:
            InfraError: the process cannot be started.
        """
        hz = hz or (GPU_HZ if device else CPU_HZ)
        command = [sys.executable, "-m", "pytest_gpuperf.sampler", f"--hz={hz}", f"--deadline-s={deadline_s}"]
        command += [f"--gpu={device}"] if device else []
        command += map(str, pids)
        try:
            # Written and read through two handles, each with its place in the file; the name is not needed after that.
            with tempfile.NamedTemporaryFile("a", prefix="gpuperf-telemetry-") as writer:
                output = open(writer.name, encoding="utf-8")  # noqa: SIM115, PTH123 - lives as long as the sampler
                process = subprocess.Popen(  # noqa: S603 - our own module, our own interpreter
                    command, stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.DEVNULL, text=True
                )
        except OSError as error:
            raise InfraError("the telemetry sampler cannot be started", got=str(error)) from error
        return cls(process, output, hz, "gpu_mib" if device else "rss_mib")

    @property
    def pid(self) -> int:
        """The sampler's process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs; what it saw before it died is still there."""
        return self._process.poll() is None

    def watch(self, pids: Iterable[int]) -> None:
        """Watch these processes from now on instead of the former ones."""
        try:
            if self._process.stdin:
                self._process.stdin.write(" ".join(map(str, pids)) + "\n")
                self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return  # a dead sampler shows as missed samples

    def window(
        self, started_ns: int, ended_ns: int, *, calls: int = 0, batch: int = 1, pid: int | None = None
    ) -> dict[str, float | None]:
        """Return the telemetry between two moments of ``time.monotonic_ns``; the same names always.

        Waits for the sample that closes the window, three sampling periods at most.

        Args:
            started_ns: begin of one case's measuring window.
            ended_ns: its end.
            calls: inferences made in it, for ``energy_mj_per_sample``.
            batch: samples per inference.
            pid: the watched process whose own memory is ``worker_peak_mib``: on the GPU if one is sampled, else RSS.

        Returns:
            Numbers by name, ``None`` where the machine does not tell (never 0 instead).
        """
        self._await(ended_ns)
        # Counters are interpolated from the nearest samples outside the window; slow ones come once a second.
        rows = self._between(started_ns - _MARGIN_NS, ended_ns + _MARGIN_NS)
        memory = f"{self._memory}.{pid}"
        values = window.summarise(rows, started_ns, ended_ns, hz=self._hz, memory=memory)
        energy, samples = values["energy_j"], calls * batch
        return {**values, "energy_mj_per_sample": None if energy is None or not samples else 1000 * energy / samples}

    def timeline(self, started_ns: int, ended_ns: int) -> Timeline:
        """Return the gauges between two moments, to draw; what was not sampled by now is not waited for."""
        return window.timeline(self._between(started_ns, ended_ns), started_ns, ended_ns)

    def _between(self, started_ns: int, ended_ns: int) -> list[dict[str, float]]:
        times = [row["t"] for row in self._rows]
        return self._rows[bisect_left(times, started_ns) : bisect_left(times, ended_ns)]

    def stop(self) -> None:
        """End the process; stopping twice is harmless."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()  # a process that sits in the driver dies when the driver lets it
        if not self._output.closed:
            self._read()
            self._output.close()

    def __enter__(self) -> Sampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _await(self, moment_ns: int) -> None:
        """Read until a row is as late as ``moment_ns``; a sampler that is dead or hangs is not waited for long."""
        deadline = time.monotonic() + 3 / self._hz
        self._read()
        while not (self._rows and self._rows[-1]["t"] >= moment_ns) and self.is_alive and time.monotonic() < deadline:
            time.sleep(0.01)
            self._read()

    def _read(self) -> None:
        if self._output.closed:
            return
        *lines, self._rest = (self._rest + self._output.read()).split("\n")
        for line in lines:
            row = json.loads(line)
            if "hung" in row:
                self.hung.append(row["hung"])
            else:
                self._rows.append(row)
