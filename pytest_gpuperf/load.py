"""How busy the machine is with other things: what the kernel counts, and what that means for a stretch of measuring.

Read from ``/proc`` and the control group; what a system does not offer is ``None`` and disturbs nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters since boot at one moment.

    Attributes:
        wall_ns: ``time.monotonic_ns``.
        own_ns: CPU time of this process, which waits while others are measured.
        busy_ns: CPU time that the whole machine spent on anything.
        steal_ns: time that a hypervisor gave to others while a CPU here wanted to run.
        stalled_ns: time in which some task waited for a CPU (pressure stall information).
        throttled: times that the control group ran into its CPU quota.
    """

    wall_ns: int
    own_ns: int = 0
    busy_ns: int | None = None
    steal_ns: int | None = None
    stalled_ns: int | None = None
    throttled: int | None = None


Reader = Callable[[], Reading]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a stretch of measuring may bear; shares are of one CPU.

    The kernel counts busy time in ticks of 10 ms on every CPU, so ``foreign`` leaves room for a few ticks of error in
    half a second. ``stalled`` is high because the measured process's own threads also wait for each other.
    """

    steal: float = 0.05
    foreign: float = 0.25
    stalled: float = 0.5

    @classmethod
    def for_margin(cls, margin_pct: float) -> Limits:
        """Return what a comparison with this margin may bear.

        The sides alternate in random order, so a disturbance is noise and no bias, and the interval answers for it.
        Rounds are set aside to keep that noise small against the margin: what is hopeless at 1 % is bearable at 35 %.
        """
        usual = cls()
        return cls(steal=max(usual.steal, margin_pct / 200), foreign=max(usual.foreign, margin_pct / 100))


def read(root: Path = Path("/")) -> Reading:
    """Read the counters; ``root`` is where the file tree starts."""
    busy_ns, steal_ns = _cpu_ns(_text(root / "proc/stat"))
    return Reading(
        wall_ns=time.monotonic_ns(),
        own_ns=time.process_time_ns(),
        busy_ns=busy_ns,
        steal_ns=steal_ns,
        stalled_ns=_stalled_ns(_text(root / "proc/pressure/cpu")),
        throttled=_throttled(root),
    )


def cores() -> tuple[int, ...]:
    """Return the processors that this process may run on; none where the system does not say."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def busy_ns(cores: Collection[int], root: Path = Path("/")) -> int | None:
    """Return the CPU time since boot that these processors spent on anything, whoever asked for it, or had stolen."""
    wanted = {f"cpu{core}" for core in cores}
    lines = [line for line in _text(root / "proc/stat").splitlines() if line.partition(" ")[0] in wanted]
    spent = [busy + (stolen or 0) for busy, stolen in map(_cpu_ns, lines) if busy is not None]
    return sum(spent) if len(spent) == len(wanted) else None


def disturbances(before: Reading, after: Reading, measured_ns: int, limits: Limits) -> tuple[str, ...]:
    """Name what disturbed the time between two readings.

    Args:
        before: at the start.
        after: at the end.
        measured_ns: CPU time of the measured processes in between; what is busy beyond it is foreign.
        limits: what is bearable.
    """
    wall_ns = max(1, after.wall_ns - before.wall_ns)
    found = []
    steal = _delta(before.steal_ns, after.steal_ns) / wall_ns
    if steal > limits.steal:
        found.append(f"steal time {steal:.0%} of a CPU")
    if throttled := _delta(before.throttled, after.throttled):
        found.append(f"CPU quota throttled {throttled} times")
    foreign_ns = _delta(before.busy_ns, after.busy_ns) - measured_ns - (after.own_ns - before.own_ns)
    if foreign_ns / wall_ns > limits.foreign:
        found.append(f"foreign load {foreign_ns / wall_ns:.0%} of a CPU")
    stalled = _delta(before.stalled_ns, after.stalled_ns) / wall_ns
    if stalled > limits.stalled:
        found.append(f"tasks waited for a CPU {min(stalled, 1):.0%} of the time")
    return tuple(found)


def _delta(before: int | None, after: int | None) -> int:
    return 0 if before is None or after is None else after - before


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _cpu_ns(stat: str) -> tuple[int | None, int | None]:
    """Return busy and stolen time from a line of ``/proc/stat``; see proc_stat(5) for the columns."""
    fields = stat.partition("\n")[0].split()
    if len(fields) < 9 or not fields[0].startswith("cpu"):  # noqa: PLR2004 - up to and with the column ``steal``
        return None, None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[1:9])
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) * tick_ns, steal * tick_ns


def _stalled_ns(pressure: str) -> int | None:
    line = pressure.partition("\n")[0]
    return int(line.rpartition("total=")[2]) * 1000 if line.startswith("some") else None


def _throttled(root: Path) -> int | None:
    """Return ``nr_throttled`` of this process's control group, version 2 or 1."""
    folders = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            folders += [f"{controllers}{path}", path.lstrip("/")]
    for folder in [*folders, "cpu", ""]:
        for line in _text(root / "sys/fs/cgroup" / folder.strip("/") / "cpu.stat").splitlines():
            if line.startswith("nr_throttled "):
                return int(line.split()[1])
    return None
