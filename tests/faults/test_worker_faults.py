"""Faults of a measuring process, one test per row of the fault matrix (rows 55 to 59 and 62).

Everything is real: processes, signals, a pthread deadlock in C, frames on the socket. Only the engine is scripted.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes import cases

from pytest_gpuperf.errors import EngineError, GpuPerfError, OutputError, WorkerError
from pytest_gpuperf.worker.client import Worker
from pytest_gpuperf.worker.pool import Pool

DEADLINE_S = 1.0
#: How long after its deadline a hang may last.
GRACE_S = 5.0

Meet = Callable[..., GpuPerfError]


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with Pool(tmp_path / "logs", deadline_s=DEADLINE_S) as pool:
        yield pool


@pytest.fixture
def meet(pool: Pool, tmp_path: Path) -> Meet:
    """Run a faulty case, then a healthy one in the same role, which must not notice."""

    def meet(**options: str) -> GpuPerfError:
        worker = pool.worker("candidate")
        with pytest.raises(GpuPerfError) as caught:
            _run(worker, tmp_path, **options)
        assert not is_running(worker.pid)
        successor = pool.worker("candidate")
        assert successor.pid != worker.pid
        _run(successor, tmp_path)
        return caught.value

    return meet


def _run(worker: Worker, cache: Path, **options: str) -> None:
    worker.open(cases.engine(**options), cases.batches(), cache=cache, progress=lambda _: None, deadline_s=20)
    worker.evaluate()
    for _ in range(10):
        worker.measure(seconds=0.01, max_calls=1)


def is_running(pid: int) -> bool:
    """Whether the process runs; a zombie that waits for a lazy init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_row_55_out_of_memory_ends_the_child_so_that_memory_returns(meet: Meet) -> None:
    error = meet(fault="memory", at="7")
    assert type(error) is EngineError
    assert error.what == "the engine raised MemoryError"
    assert error.got == "Unable to allocate 93.1 GiB"


def test_row_55_an_engines_own_out_of_memory_keeps_its_words(meet: Meet) -> None:
    error = meet(fault="engine", at="7")
    assert type(error) is EngineError
    assert (error.what, error.got, error.expected) == ("out of device memory", "24 GiB", "8 GiB free")


def test_row_56_a_poisoned_process_is_replaced_and_its_traceback_kept(meet: Meet, tmp_path: Path) -> None:
    error = meet(fault="error", at="7")
    log = tmp_path / "logs" / "worker-candidate.log"
    assert str(error) == (
        "the engine raised RuntimeError\n"
        "  got:      kernel launch failed: invalid argument\n"
        f"  next:     its traceback is in {log}"
    )
    assert "in misbehave" in log.read_text()


DEATHS = {
    "segfault": ("died of SIGSEGV", "Fatal Python error: Segmentation fault"),
    "abort": ("died of SIGABRT", "Fatal Python error: Aborted"),
    "bus": ("died of SIGBUS", "Fatal Python error: Bus error"),
    "kill": ("died of SIGKILL (the kernel's out-of-memory killer sends it)", None),
    "term": ("died of SIGTERM", None),
    "exit0": ("ended with exit status 0", None),
}


@pytest.mark.parametrize(
    ("fault", "at", "activity"),
    [
        *((fault, "7", "measured latency") for fault in DEATHS),
        ("segfault", "open", f"opened {cases.KIND}"),
        ("exit0", "2", "evaluated"),
    ],
)
def test_row_57_a_death_is_named_with_the_last_stack(
    meet: Meet, tmp_path: Path, fault: str, at: str, activity: str
) -> None:
    how, stack = DEATHS[fault]
    error = meet(fault=fault, at=at)
    assert type(error) is WorkerError
    assert error.what == f"the measuring process {how} while it {activity}"
    assert error.hint == f"its whole log is {tmp_path / 'logs' / 'worker-candidate.log'}"
    if stack is None:
        assert error.got is None
    else:
        assert (error.got or "").startswith(stack)
        assert "in misbehave" in (error.got or "")


def test_row_57_death_between_two_requests_is_noticed(pool: Pool, tmp_path: Path) -> None:
    worker = pool.worker("candidate")
    os.kill(worker.pid, 11)
    deadline = time.monotonic() + 10
    while worker.is_alive and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(WorkerError, match="the measuring process died of SIGSEGV while it was idle"):
        worker.evaluate()
    _run(pool.worker("candidate"), tmp_path)


@pytest.mark.parametrize(
    ("fault", "got"),
    [("garbage", "Expected `object`, got `int`"), ("flood", "a length of 4294967295 bytes")],
)
def test_row_57_a_frame_that_is_none_ends_the_child(meet: Meet, fault: str, got: str) -> None:
    error = meet(fault=fault, at="7")
    assert type(error) is WorkerError
    assert (error.what, error.got) == ("a frame broke the worker protocol", got)


@pytest.mark.parametrize(("fault", "frame"), [("hang", "in deadlock"), ("sleep", "in <lambda>"), ("stop", "")])
def test_row_58_a_hang_ends_within_its_deadline_and_five_seconds(
    pool: Pool, tmp_path: Path, fault: str, frame: str
) -> None:
    worker = pool.worker("candidate")
    worker.open(cases.engine(fault=fault, at="7"), cases.batches(), cache=tmp_path, progress=lambda _: None)
    worker.evaluate()
    worker.measure(seconds=10, max_calls=2)
    started = time.monotonic()
    with pytest.raises(WorkerError) as caught:
        worker.measure(seconds=0.5, max_calls=1)
    assert DEADLINE_S + 0.5 <= time.monotonic() - started < DEADLINE_S + 0.5 + GRACE_S
    assert not is_running(worker.pid)
    assert (
        caught.value.what == "the measuring process did not answer within 1.5 s while it measured latency; it was ended"
    )
    assert frame in (caught.value.got or "")
    _run(pool.worker("candidate"), tmp_path)


def test_row_58_progress_extends_no_deadline(tmp_path: Path, pool: Pool) -> None:
    said: list[str] = []
    worker = pool.worker("candidate")
    started = time.monotonic()
    with pytest.raises(WorkerError, match=r"did not answer within 1 s while it opened"):
        worker.open(cases.engine(chatter="1"), cases.batches(), cache=tmp_path, progress=said.append, deadline_s=1)
    assert time.monotonic() - started < 1 + GRACE_S
    assert len(said) > 2


def test_row_58_grandchildren_end_with_the_group_even_if_they_ignore_sigterm(pool: Pool, tmp_path: Path) -> None:
    record = tmp_path / "pids"
    worker = pool.worker("candidate")
    with pytest.raises(WorkerError):
        _run(worker, tmp_path, fault="orphan", at="5", record=str(record))
    child, grandchild = map(int, record.read_text().split())
    assert child == worker.pid
    _gone(grandchild)


@pytest.mark.parametrize("fault", ["hang", "sleep", "none"])
def test_row_58_no_orphan_when_the_parent_is_killed(tmp_path: Path, fault: str) -> None:
    code = (
        "import sys, threading; from pathlib import Path; from fakes import cases\n"
        "from pytest_gpuperf.worker.client import Worker\n"
        "tmp = Path(sys.argv[1]); worker = Worker.start(log=tmp / 'log')\n"
        f"worker.open(cases.engine(fault={fault!r}, at='5'), cases.batches(), cache=tmp, progress=print)\n"
        "print(worker.pid, flush=True)\n"
        "worker.evaluate()\n"
        "worker.measure(seconds=3600, max_calls=10**6 if sys.argv[2] != 'none' else 1)\n"
        "sys.stdin.read()\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path), fault]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"opening the fake fake\n"
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_running(pid)
        parent.kill()
    _gone(pid)


def _gone(pid: int) -> None:
    deadline = time.monotonic() + GRACE_S
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)


def test_row_59_a_warm_up_that_never_settles_is_a_status_with_its_numbers(pool: Pool, tmp_path: Path) -> None:
    worker = pool.worker("candidate")
    rising = ",".join(str(50 * 1.1**run) for run in range(30))
    engine = cases.engine(latencies_ms=rising, how="sleep")
    worker.open(engine, cases.batches(4, 4), cache=tmp_path, progress=lambda _: None)
    steady = worker.warm_up(max_s=0.8)
    assert not steady.is_steady
    assert steady.warmup_runs >= 4
    assert steady.drift_pct > 10


@pytest.mark.parametrize("fault", ["nan", "change"])
def test_row_59_outputs_that_change_while_they_are_timed_void_the_numbers(meet: Meet, fault: str) -> None:
    error = meet(**{fault: "7"})
    assert type(error) is OutputError
    assert error.what == "outputs changed during timing: 'logits'"


def test_row_62_two_processes_never_measure_on_one_device_at_once(tmp_path: Path) -> None:
    code = (
        "import json, sys, time; from pathlib import Path; from fakes import cases\n"
        "from pytest_gpuperf.worker import lock; from pytest_gpuperf.worker.client import Worker\n"
        "tmp, name = Path(sys.argv[1]), sys.argv[2]; worker = Worker.start(log=tmp / name)\n"
        "engine = cases.engine(latencies_ms='2', how='sleep')\n"
        "worker.open(engine, cases.batches(), cache=tmp, progress=lambda _: None)\n"
        "print('ready', flush=True); sys.stdin.readline(); times = []\n"
        "for _ in range(8):\n"
        "    time.sleep(0.06)  # longer than the lock is polled, so that the other one gets its turn\n"
        "    with lock.hold('cpu', timeout_s=60, folder=tmp / 'locks'):\n"
        "        block = worker.measure(seconds=0.02, max_calls=10**6)\n"
        "    times.append([block.started_ns, block.ended_ns])\n"
        "worker.stop(); print(json.dumps(times))\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], **pipes, env=environ, text=True)
        for name in ("first", "second")
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    with ThreadPoolExecutor() as threads:
        answers = threads.map(lambda run: json.loads(run.communicate("go\n")[0]), runs)
        blocks = sorted((*block, number) for number, answer in enumerate(answers) for block in answer)
    assert len(blocks) == 16
    for (_, ended, _), (started, _, _) in itertools.pairwise(blocks):
        assert ended <= started
    # They did run side by side: without the lock the blocks would have met.
    first, second = ([b for b in blocks if b[2] == number] for number in (0, 1))
    assert first[0][0] < second[-1][1]
    assert second[0][0] < first[-1][1]
