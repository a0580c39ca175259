"""The sampler process: reads the gauges at a fixed rate and appends one JSON line per tick to standard output.

It lives outside the measured process, so that reading NVML costs the measurement nothing but the driver's own time.
Every gauge has a deadline: one that hangs is named in a line of its own and never read again, the others go on in a
fresh thread. Standard input takes the pids to watch, one line each time they change; its end ends the sampler, so
that no sampler outlives its parent.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import threading
import time

from pytest_gpuperf.gauges import Gauge, Pids, Row, gpu_gauges, host_gauges


class Reader(threading.Thread):
    """Reads all gauges at each tick until it is retired.

    Attributes:
        busy: the gauge that is being read, and since when (monotonic seconds); ``None`` between readings.
        retired: set when a gauge hung; the thread then ends as soon as (and if) the gauge returns.
    """

    def __init__(self, gauges: list[Gauge], hz: float) -> None:
        super().__init__(daemon=True)
        self.gauges = gauges
        self.period_s = 1 / hz
        self.busy: tuple[Gauge, float] | None = None
        self.retired = False

    def run(self) -> None:
        """Tick; a tick that comes late is not made up for."""
        next_s = time.monotonic()
        while not self.retired:
            row = self.read()
            if not self.retired:
                write(row)
            next_s = max(next_s + self.period_s, time.monotonic())
            time.sleep(max(0.0, next_s - time.monotonic()))

    def read(self) -> Row:
        """Return one row: the values of every gauge that is due, and the time in the middle of reading them."""
        began_ns = time.monotonic_ns()
        row: Row = {}
        for gauge in self.gauges:
            now_s = time.monotonic()
            if self.retired or now_s < gauge.due_s:
                continue
            # A fifth of a tick early is still on time: ticks jitter.
            gauge.due_s = now_s + gauge.every_s - self.period_s / 5
            self.busy = gauge, now_s
            row.update(gauge.read())
            self.busy = None
        return {"t": (began_ns + time.monotonic_ns()) // 2, **row}


def write(row: object) -> None:
    """Append one line in one system call, so that a kill never leaves half a line that looks whole."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> None:
    """Sample until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m pytest_gpuperf.sampler", description=__doc__)
    parser.add_argument("--gpu", help="UUID of the GPU to read; the host alone when left out")
    parser.add_argument("--hz", type=float, required=True)
    parser.add_argument("--deadline-s", type=float, required=True)
    parser.add_argument("pids", type=int, nargs="*", help="processes to watch from the start")
    options = parser.parse_args(argv)
    pids = Pids()
    pids.watched = tuple(options.pids)
    reader = Reader([*host_gauges(pids), *(gpu_gauges(options.gpu, pids) if options.gpu else [])], options.hz)
    reader.start()
    while True:
        if select.select([sys.stdin], [], [], options.deadline_s / 4)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            pids.watched = tuple(map(int, line.split()))
        reader = _replaced_if_hung(reader, options.hz, options.deadline_s)


def _replaced_if_hung(reader: Reader, hz: float, deadline_s: float) -> Reader:
    busy = reader.busy
    if busy is None or time.monotonic() - busy[1] < deadline_s:
        return reader
    reader.retired = True
    hung = busy[0]
    write({"t": time.monotonic_ns(), "hung": hung.name})
    successor = Reader([gauge for gauge in reader.gauges if gauge is not hung], hz)
    successor.start()
    return successor


if __name__ == "__main__":
    main()
