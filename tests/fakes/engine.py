"""A scripted engine: ``EngineSpec(kind="fakes.engine:FakeEngine", precision=…, options={…})``.

Options, all of them strings, all optional:

    latencies_ms   "5,4,3"   time of the 1st, 2nd, 3rd run; the last one holds from then on (default 0)
    how            "spin" (default) or "sleep"
    fault, at      what happens in run number ``at`` (default 1; ``at=open`` while the engine is opened):
                   segfault, abort, bus, kill, term, stop, hang (a native deadlock), sleep (Python, for ever),
                   exit0, garbage (a frame that is none), flood (a length of 4 GB), error, engine, config, memory,
                   orphan (leaves a grandchild that ignores SIGTERM, then hangs)
    chatter        "1": opening never ends, and says so ten times a second
    nan, change    "7": from run 7 on, one output value is NaN, or another number
    leak_mib       "10": memory that every run keeps
    scale          "1.1": factor on all outputs, a scripted accuracy loss
    swap           "1": the first two classes change places
    got_precision  what the engine reports, if not what was asked for
    device         what it reports, default ``cpu``
    device_clock   "1": has a device clock, which reads 90 % of the scripted time
    device_ms      "2": has a device clock, which reads just this, however loaded the machine is
    tail_ms        "2.4": what every 50th run takes by the device's clock
    gflop          "8": work per sample that it reports
    record         file that gets the pid, and on ``orphan`` the grandchild's

The output ``logits`` is ``(batch, 10)`` float32, a fixed function of the first input alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pytest_gpuperf.engines.base import Binding, Engine, Progress
from pytest_gpuperf.errors import ConfigError, EngineError
from pytest_gpuperf.records import Artefact, Cost, EngineInfo, TensorSpec

if TYPE_CHECKING:
    from pytest_gpuperf.engines.base import Arrays

CLASSES = 10


class FakeEngine(Engine):
    artefact_kind: ClassVar[str] = "none"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8", "mixed_float16", "mixed_bfloat16")

    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo:
        options = self.spec.options
        self.lock = threading.Lock()
        self.runs = 0
        self.kept: list[bytearray] = []
        progress(f"opening the fake {self.spec.model.name}")
        if "record" in options:
            Path(options["record"]).write_text(f"{os.getpid()}\n")
        while options.get("chatter") == "1":
            time.sleep(0.1)
            progress("still opening")
        if options.get("at") == "open":
            misbehave(options["fault"], options.get("record"))
        return EngineInfo(
            kind=self.spec.kind,
            device=options.get("device", "cpu"),
            provider="FakeProvider",
            precision=options.get("got_precision", self.spec.precision),
            artefact=artefact,
            inputs=(),
            outputs=(TensorSpec(name="logits", dtype="float32", shape=(-1, CLASSES)),),
            versions={"fake": "1"},
            mode={"how": options.get("how", "spin")},
            has_device_clock=options.get("device_clock") == "1" or "device_ms" in options,
            cost=Cost(flop=float(options["gflop"]) * 1e9) if "gflop" in options else None,
        )

    def _bind(self, batch: Arrays) -> FakeBinding:
        return FakeBinding(self, batch)

    def _close(self) -> None:
        self.kept.clear()


class FakeBinding(Binding):
    def __init__(self, engine: FakeEngine, batch: Arrays) -> None:
        options = engine.spec.options
        self.engine = engine
        self.logits = _logits(next(iter(batch.values()))) * np.float32(options.get("scale", "1"))
        if options.get("swap") == "1":
            self.logits[:, [0, 1]] = self.logits[:, [1, 0]]
        self.result = self.logits
        self.schedule_ns = [int(float(ms) * 1e6) for ms in options.get("latencies_ms", "0").split(",")]
        self.wait = time.sleep if options.get("how") == "sleep" else spin
        self.nan, self.change = int(options.get("nan", "0")), int(options.get("change", "0"))
        self.fault, self.at = options.get("fault"), options.get("at", "1")
        self.leak = int(float(options.get("leak_mib", "0")) * 2**20)
        self.took_ns = 0

    def run(self) -> None:
        with self.engine.lock:
            self.engine.runs += 1
            number = self.engine.runs
        self.took_ns = self.schedule_ns[min(number, len(self.schedule_ns)) - 1]
        if self.took_ns:
            self.wait(self.took_ns / 1e9)
        if self.fault is not None and str(number) == self.at:
            misbehave(self.fault, self.engine.spec.options.get("record"))
        if self.leak:
            self.engine.kept.append(bytearray(self.leak))
        if (self.nan and number >= self.nan) or (self.change and number >= self.change):
            self.result = self.logits.copy()
            self.result[0, 0] = np.nan if self.nan else self.logits[0, 0] + 1 + np.abs(self.logits).max()

    def outputs(self) -> dict[str, np.ndarray]:
        return {"logits": self.result.copy()}

    def device_ns(self) -> int:
        name = "tail_ms" if self.engine.runs % 50 == 0 else "device_ms"
        scripted = self.engine.spec.options.get(name, self.engine.spec.options.get("device_ms"))
        return self.took_ns * 9 // 10 if scripted is None else int(float(scripted) * 1e6)


def _logits(values: np.ndarray) -> np.ndarray:
    flat = np.ascontiguousarray(values, dtype=np.float64).reshape(len(values), -1)
    waves = np.sin(np.outer(np.arange(flat.shape[1]), np.arange(1, CLASSES + 1)))
    return (flat @ waves / np.sqrt(flat.shape[1])).astype(np.float32)


def spin(seconds: float) -> None:
    until = time.perf_counter_ns() + int(seconds * 1e9)
    while time.perf_counter_ns() < until:
        pass


def misbehave(fault: str, record: str | None = None) -> None:
    """Do what ``fault`` names, for real."""
    faults = {
        "segfault": lambda: ctypes.string_at(0),
        "abort": os.abort,
        "bus": lambda: os.kill(os.getpid(), signal.SIGBUS),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "none": lambda: None,
        "hang": deadlock,
        "sleep": lambda: time.sleep(3600),
        "exit0": lambda: os._exit(0),
        "garbage": lambda: write_to_parent(b"\x00\x00\x00\x05hello"),
        "flood": lambda: write_to_parent(b"\xff\xff\xff\xff"),
        "error": lambda: fail(RuntimeError("kernel launch failed: invalid argument")),
        "config": lambda: fail(ConfigError("the fake dislikes its input", got="1", expected="2")),
        "engine": lambda: fail(EngineError("out of device memory", got="24 GiB", expected="8 GiB free")),
        "memory": lambda: fail(MemoryError("Unable to allocate 93.1 GiB")),
        "orphan": lambda: orphan(record),
    }
    faults[fault]()


def fail(error: Exception) -> None:
    raise error


def deadlock() -> None:
    """Lock a pthread mutex twice in C: no Python signal handler can run any more."""
    libc = ctypes.PyDLL(None)  # keeps the GIL, like a runtime that is stuck inside one of its calls
    mutex = ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def write_to_parent(data: bytes) -> None:
    """Write to the protocol's own socket, as a wild pointer might."""
    for number in range(3, 64):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.write(number, data)
    time.sleep(3600)


def orphan(record: str | None) -> None:
    """Leave a grandchild that ignores SIGTERM, then hang."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
    child = subprocess.Popen([sys.executable, "-c", code])
    assert record is not None
    Path(record).write_text(f"{os.getpid()}\n{child.pid}\n")
    time.sleep(3600)
