"""A list of child processes that runs on a server's GPUs: what is measured has its GPU alone, builds share one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Seconds before the end from which sessions no longer wait for engines.
LATE_S = 200


@dataclass(eq=False)
class Job:
    """One child process.

    Attributes:
        command: asked when the job starts; an empty one means that nothing is left to do.
        gpus: that it may run on; builds share one, unless they are ``is_quiet``.
        ended: the exit status, or why there is none.
    """

    name: str
    command: Callable[[], Sequence[object]]
    is_ready: Callable[[], bool]
    gpus: tuple[str, ...]
    limit_s: float
    is_build: bool = False
    is_quiet: bool = False
    gpu: str = ""
    began: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    ended: object = field(default=None)

    @property
    def is_done(self) -> bool:
        """Whether it ended, or never will begin."""
        return self.ended is not None


class Board:
    """Runs jobs in their order of importance, each when what it needs is there and its GPU is free.

    With several GPUs, builds run on the upper half of the cores: the launches of what is measured beside them are the
    host's work.

    Args:
        work: gets each job's log, and ``jobs.jsonl``.
        gpus: what CUDA_VISIBLE_DEVICES calls them; the first is the last to build.
        limit_s: after which what runs is stopped, and nothing else starts.
        at_once: builds on one GPU.
    """

    def __init__(self, work: Path, gpus: Sequence[str], *, limit_s: float, at_once: int) -> None:
        self._work, self._at_once = work, at_once
        self._gpus = (*gpus, "")  # the last is for what needs none
        self.until = time.time() + limit_s
        self.jobs: list[Job] = []

    @property
    def is_late(self) -> bool:
        """Whether sessions run without the engines that are still missing."""
        return time.time() > self.until - LATE_S

    def run(self) -> None:
        """Run all jobs, or as many as there is time for."""
        while not all(job.is_done for job in self.jobs):
            is_over = time.time() > self.until
            for job in (job for job in self.jobs if not job.is_done):
                has_no_time = is_over or (job.is_build and self.is_late)
                if job.process is not None:
                    self._look_at(job, has_no_time=has_no_time)
                elif has_no_time:
                    self._end(job, "not reached")
            if not is_over:
                for gpu in self._gpus:
                    self._fill(gpu)
            time.sleep(0.5)

    def _fill(self, gpu: str) -> None:
        running = [job for job in self.jobs if job.process is not None and not job.is_done and job.gpu == gpu]
        is_building = any(job.is_build and not job.is_done and gpu in job.gpus for job in self.jobs)
        for job in self.jobs:
            if job.process is not None or job.is_done or gpu not in job.gpus or not job.is_ready():
                continue
            if not job.is_build and gpu not in ("", self._gpus[0]) and is_building and not self.is_late:
                continue  # the other GPUs build, as long as there is something to build
            alone = job.is_quiet or not job.is_build
            shares = all(other.is_build and not other.is_quiet for other in running)
            if running and (alone or not shares or len(running) >= self._at_once):
                return  # what comes first waits for its turn
            self._start(job, gpu)
            if job.process is not None:
                running.append(job)

    def _start(self, job: Job, gpu: str) -> None:
        command = [str(word) for word in job.command()]
        job.began, job.gpu = time.time(), gpu
        if not command:
            self._end(job, "nothing to do")
            return
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu, "PYTHONPATH": paths, "COLUMNS": "160"}
        environment |= {"GPUPERF_TFTRT_ALLOW_PATCH_MISMATCH": "1", "PYTHONUNBUFFERED": "1"}
        environment.pop("GPUPERF_BATCHES", None)
        with (self._work / f"{job.name}.log").open("w") as stream:
            job.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=stream, stderr=stream, start_new_session=True
            )
        cores = sorted(os.sched_getaffinity(0))
        if job.is_build and not job.is_quiet and len(self._gpus) > 2:  # beside a lone GPU's builds nothing is measured
            os.sched_setaffinity(job.process.pid, cores[len(cores) // 2 :])

    def _look_at(self, job: Job, *, has_no_time: bool) -> None:
        assert job.process is not None
        code = job.process.poll()
        if code is not None:
            self._end(job, code)
        elif has_no_time or time.time() - job.began > job.limit_s:
            if not job.is_build:
                job.process.send_signal(signal.SIGINT)  # pytest then writes what it has
                with suppress(subprocess.TimeoutExpired):
                    job.process.wait(15)
            with suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGKILL)
            self._end(job, "stopped at the limit")

    def _end(self, job: Job, how: object) -> None:
        job.ended = how
        seconds = time.time() - job.began if job.began else 0.0
        line = {"job": job.name, "gpu": job.gpu, "exit": how, "began": round(job.began), "s": round(seconds, 1)}
        print(json.dumps(line), flush=True)
        with (self._work / "jobs.jsonl").open("a") as stream:
            stream.write(json.dumps(line) + "\n")
