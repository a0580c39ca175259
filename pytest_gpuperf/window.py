"""A case's telemetry: sampled rows between two moments → named numbers. Pure.

Gauges become means (and peaks), counters become differences, interpolated at both ends. What was not sampled is
``None``; nothing is ever guessed, and nothing unavailable is 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from pytest_gpuperf.health import POWER_CAP, THROTTLES
from pytest_gpuperf.records import Timeline, Volley

Row = Mapping[str, float]

#: PCIe payload ceiling per lane in GB/s by generation (line rate less encoding).
LANE_GBS = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
#: Means over fewer than four fifths of the expected samples say nothing.
MAX_MISSED_PCT = 20.0
_SHORTEST_S = 0.5
#: What a timeline shows, and in how many points at most: a chart is some hundred pixels wide.
TIMELINE = ("gpu_utilisation_pct", "power_w", "memory_used_mib", "sm_clock_mhz", "load", "cpu_frequency_mhz", "rss_mib")
TIMELINE_POINTS = 60
_MIB = 1024 * 1024

_MEANS = ("gpu_utilisation_pct", "memory_bus_pct", "memory_used_mib", "memory_reserved_mib", "sm_clock_mhz",
          "memory_clock_mhz", "sm_activity_pct", "sm_occupancy_pct", "tensor_activity_pct", "dram_activity_pct",
          "load", "cpu_frequency_mhz")  # fmt: skip


def summarise(
    rows: Sequence[Row], started_ns: int, ended_ns: int, *, hz: float, memory: str = ""
) -> dict[str, float | None]:
    """Return the telemetry of one measuring window.

    Args:
        rows: all sampled rows so far in time order, ``t`` in monotonic nanoseconds; counters are interpolated from the
            neighbours just outside the window.
        started_ns: begin of the window, by ``time.monotonic_ns``.
        ended_ns: its end.
        hz: the rate that the sampler was asked for.
        memory: the value that holds one process's own memory in MiB.

    Returns:
        The same names always; ``None`` = unavailable.
    """
    inside = [row for row in rows if started_ns <= row["t"] <= ended_ns]
    seconds = (ended_ns - started_ns) / 1e9
    missed = _missed_pct(inside, seconds, hz)
    trusted = [] if missed is not None and missed > MAX_MISSED_PCT else inside

    def counted(name: str, scale: float = 1.0) -> float | None:
        change = counter_change(rows, name, started_ns, ended_ns)
        return None if change is None else change * scale

    power = _mean(trusted, "power_mw")
    ticks = counted("cpu_ticks")
    link = _link_gbs(inside)
    sent, received = counted("pcie_tx_bytes"), counted("pcie_rx_bytes")
    busiest = max((bytes_ for bytes_ in (sent, received) if bytes_ is not None), default=None)
    return {
        "samples": float(len(inside)),
        "missed_pct": missed,
        **{name: _mean(trusted, name) for name in _MEANS},
        "memory_peak_mib": _extreme(inside, "memory_used_mib", max),
        "memory_growth_mib": _growth(inside, "memory_used_mib"),
        "power_w": None if power is None else power / 1000,
        "energy_j": counted("energy_mj", 1e-3),
        "energy_from_power_j": None if power is None else power / 1000 * seconds,
        "sm_clock_min_mhz": _extreme(inside, "sm_clock_mhz", min),
        "temperature_max_c": _extreme(inside, "temperature_c", max),
        **_throttles(inside),
        "pcie_tx_mib": _scaled(sent, 1 / _MIB),
        "pcie_rx_mib": _scaled(received, 1 / _MIB),
        "pcie_link_pct": None
        if link is None or busiest is None or not seconds
        else 100 * busiest / 1e9 / seconds / link,
        "foreign_processes": _extreme(inside, "foreign_processes", max),
        "ecc_uncorrected": _rise(inside, "ecc_errors"),
        "xid": _extreme(inside, "xid", max),
        "gpu_lost": _extreme(inside, "gpu_lost", max),
        "cpu_busy_pct": _share(ticks, counted("cpu_idle_ticks"), is_rest=True),
        "cpu_steal_pct": _share(ticks, counted("cpu_steal_ticks")),
        "cgroup_throttled_ms": counted("cgroup_throttled_us", 1e-3),
        "process_cpu_s": counted("process_cpu_s"),
        "worker_peak_mib": _extreme(inside, memory, max),
        "rss_peak_mib": _extreme(inside, "rss_mib", max),
        "rss_growth_mib": _growth(inside, "rss_mib"),
    }


def allocator(volleys: Sequence[Volley]) -> dict[str, float | None]:
    """Return what the measuring process's allocator held and used after its last volley; the same names always."""
    reserved, used = (volleys[-1].held_mib if volleys else None) or (None, None)
    return {"allocator_reserved_mib": reserved, "allocator_used_mib": used}


def timeline(rows: Sequence[Row], started_ns: int, ended_ns: int) -> Timeline:
    """Return the gauges of :data:`TIMELINE` that were sampled at all, as means over equal parts of the window."""
    inside = [row for row in rows if started_ns <= row["t"] < ended_ns]
    parts = min(TIMELINE_POINTS, len(inside))
    slots: list[list[Row]] = [[] for _ in range(parts)]
    for row in inside:
        slots[int(parts * (row["t"] - started_ns) / (ended_ns - started_ns))].append(row)
    gauges = {name: tuple(_point(slot, name) for slot in slots) for name in TIMELINE}
    known = {name: points for name, points in gauges.items() if any(point is not None for point in points)}
    return Timeline(seconds=(ended_ns - started_ns) / 1e9, gauges=known)


def _point(rows: Sequence[Row], name: str) -> float | None:
    mean = _mean(rows, "power_mw") if name == "power_w" else _mean(rows, name)
    if mean is None:
        return None
    return float(f"{mean / 1000 if name == 'power_w' else mean:.4g}")


def counter_change(rows: Sequence[Row], name: str, started_ns: int, ended_ns: int) -> float | None:
    """Return by how much a counter rose between two moments, straight lines between samples.

    A counter that falls has wrapped at 2^32. Moments outside what was sampled give ``None``, unless they are within
    a tenth of the window of the nearest sample.
    """
    points = [(row["t"], row[name]) for row in rows if name in row]
    raised: list[tuple[float, float]] = []
    wraps = 0.0
    for index, (moment, value) in enumerate(points):
        wraps += 2**32 if index and value < points[index - 1][1] else 0
        raised.append((moment, value + wraps))
    slack = (ended_ns - started_ns) / 10
    if len(raised) < 2 or started_ns < raised[0][0] - slack or ended_ns > raised[-1][0] + slack:  # noqa: PLR2004
        return None
    return _at(raised, ended_ns) - _at(raised, started_ns)


def _at(points: Sequence[tuple[float, float]], moment: float) -> float:
    after = min(max(1, bisect_left(points, (moment,))), len(points) - 1)
    (before_t, before), (after_t, after_value) = points[after - 1], points[after]
    return before + (after_value - before) * (moment - before_t) / (after_t - before_t)


def _missed_pct(inside: Sequence[Row], seconds: float, hz: float) -> float | None:
    if seconds < _SHORTEST_S:
        return None
    return max(0.0, 100 * (1 - len(inside) / max(1, int(seconds * hz))))


def _values(rows: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in rows if name in row]


def _mean(rows: Sequence[Row], name: str) -> float | None:
    values = _values(rows, name)
    return fmean(values) if values else None


def _extreme(rows: Sequence[Row], name: str, choose: Callable[[list[float]], float]) -> float | None:
    values = _values(rows, name)
    return choose(values) if values else None


def _rise(rows: Sequence[Row], name: str) -> float | None:
    values = _values(rows, name)
    return values[-1] - values[0] if values else None


def _growth(rows: Sequence[Row], name: str) -> float | None:
    """Return by how much a gauge grew all the time: three times the least rise from a quarter to the next.

    A step is no growth (more calls in flight need more buffers, an allocator takes them at once), nor is an odd sample.
    """
    values = _values(rows, name)
    quarter = len(values) // 4
    if not quarter:
        return None
    middle = len(values) // 2
    starts = (0, middle - quarter, middle, len(values) - quarter)
    means = [fmean(values[start : start + quarter]) for start in starts]
    return max(0.0, 3 * min(after - before for before, after in pairwise(means)))


def _throttles(rows: Sequence[Row]) -> dict[str, float | None]:
    masks = [int(value) for value in _values(rows, "throttle")]
    bits = {**{bit: name for bit, (name, _, _) in THROTTLES.items()}, POWER_CAP: "sw_power_cap"}
    return {
        f"throttle_{name}_pct": 100 * sum(bool(mask & bit) for mask in masks) / len(masks) if masks else None
        for bit, name in bits.items()
    }


def _link_gbs(rows: Sequence[Row]) -> float | None:
    generation, width = _extreme(rows, "pcie_gen", max), _extreme(rows, "pcie_width", max)
    if generation is None or width is None:
        return None
    return LANE_GBS.get(int(generation), LANE_GBS[6]) * width


def _share(total: float | None, part: float | None, *, is_rest: bool = False) -> float | None:
    if not total or part is None:
        return None
    return 100 * (1 - part / total if is_rest else part / total)


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
