"""What the machine layer reads on a real GPU, against loads whose size is known.

Run on a machine with one NVIDIA GPU, PyTorch and nvidia-ml-py, from the repository's root::

    OUT=/tmp/out python benchmarks/machine_gpu.py

Writes ``$OUT/machine_gpu.json`` after each part, prints a table last. Takes at most about six minutes, changes no
setting of the GPU. ``--dry-run`` replaces the GPU's work by sleeping: it exercises the script, not the machine.

Parts: probe and profile match; telemetry idle; 1 GiB allocation (memory within 1 %); 10 GiB copied to the GPU and back
(PCIe bytes within 5 %), in one go and in ten; energy counter against integrated power (within 3 %) under a steady
load; the sampler's effect on a kernel's median over interleaved blocks (at most 0.5 %); two processes that want the
same GPU at once, and where there are two GPUs, one each.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = str(Path(__file__).resolve().parents[1])
sys.path.insert(0, ROOT)
# The probe and the sampler are processes of their own and have to find the package too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # NVML's order

from pytest_gpuperf import hardware, health, nvml, profiles  # noqa: E402 - after the path is set
from pytest_gpuperf.telemetry import Sampler  # noqa: E402 - same
from pytest_gpuperf.worker import lock  # noqa: E402 - same

GIB = 1024**3
MIB = 1024**2


class Load:
    """The GPU's work, by PyTorch."""

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.small = torch.randn(2048, 2048, device="cuda", dtype=torch.float16)
        self.big = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
        self.held: Any = None
        self.host = torch.empty(GIB, dtype=torch.uint8, pin_memory=True)
        self.device = torch.empty(GIB, dtype=torch.uint8, device="cuda")
        self.hold(GIB)  # CUDA loads a kernel's code at its first use, which takes memory too
        self.release()

    def uuid(self) -> str:
        """Return the UUID of the GPU that the work runs on, as CUDA tells it."""
        return f"GPU-{self.torch.cuda.get_device_properties(0).uuid}"

    def hold(self, size: int) -> None:
        self.held = self.torch.empty(size, dtype=self.torch.uint8, device="cuda")
        self.held.zero_()
        self.torch.cuda.synchronize()

    def release(self) -> None:
        self.held = None
        self.torch.cuda.empty_cache()
        self.torch.cuda.synchronize()

    def copy_to_gpu(self, gib: int) -> None:
        for _ in range(gib):
            self.device.copy_(self.host, non_blocking=True)
        self.torch.cuda.synchronize()

    def copy_from_gpu(self, gib: int) -> None:
        for _ in range(gib):
            self.host.copy_(self.device, non_blocking=True)
        self.torch.cuda.synchronize()

    def burn(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(20):
                self.torch.matmul(self.big, self.big)
            self.torch.cuda.synchronize()

    def block(self, calls: int) -> list[int]:
        """Return host nanoseconds of each of ``calls`` small synchronised calls."""
        times = []
        for _ in range(calls):
            began = time.perf_counter_ns()
            self.torch.matmul(self.small, self.small)
            self.torch.cuda.synchronize()
            times.append(time.perf_counter_ns() - began)
        return times


class DryLoad(Load):
    """Sleeps instead; for trying the script where there is no GPU."""

    def __init__(self) -> None: ...

    def uuid(self) -> str:
        return "none"

    def hold(self, size: int) -> None: ...

    def release(self) -> None: ...

    def copy_to_gpu(self, gib: int) -> None:
        time.sleep(0.02 * gib)

    def copy_from_gpu(self, gib: int) -> None:
        time.sleep(0.02 * gib)

    def burn(self, seconds: float) -> None:
        time.sleep(seconds)

    def block(self, calls: int) -> list[int]:
        times = []
        for _ in range(calls):
            began = time.perf_counter_ns()
            time.sleep(0.0002)
            times.append(time.perf_counter_ns() - began)
        return times


class Report:
    """Results so far, on disk after each part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.rows: list[tuple[str, str, str, str]] = []

    def put(self, part: str, value: object) -> None:
        self.values[part] = value
        self.path.write_text(json.dumps(self.values, indent=1, default=str))
        print(f"-- {part} done", flush=True)

    def row(self, what: str, value: str, limit: str, is_good: bool | None) -> None:
        self.rows.append((what, value, limit, {True: "yes", False: "NO", None: "-"}[is_good]))
        self.values["table"] = self.rows
        self.path.write_text(json.dumps(self.values, indent=1, default=str))

    def print(self) -> None:
        for row in [("measured", "value", "limit", "ok"), *self.rows]:
            print(f"{row[0]:<46} {row[1]:>34} {row[2]:>10} {row[3]:>4}")


def watched(sampler: Sampler, work: Callable[[], None], *, settle_s: float = 0.0) -> dict[str, Any]:
    """Run ``work`` and return its telemetry, counters read up to ``settle_s`` after it (counters lag)."""
    started = time.monotonic_ns()
    work()
    worked = time.monotonic_ns()
    time.sleep(settle_s)
    ended = time.monotonic_ns()
    time.sleep(0.3)
    return {"work_s": (worked - started) / 1e9, **sampler.window(started, ended)}


def probe(report: Report) -> list[str]:
    """Return the UUIDs of the GPUs that CUDA sees, in its order."""
    began = time.monotonic()
    machine = hardware.probe()
    seconds = time.monotonic() - began
    profile, why = profiles.auto(machine)
    problems = [str(problem) for problem in health.check(machine, profile)]
    finger = hardware.fingerprint(machine, profile)
    report.put(
        "probe",
        {"seconds": seconds, "machine": repr(machine), "profile": profile.name, "why": why, "problems": problems,
         "hardware": finger.hardware, "software": finger.software},
    )  # fmt: skip
    hardware.match(profile, machine)
    report.row("profile matched by --gpu-profile=auto", profile.name, "", profile.is_gpu)
    report.row("probe, seconds", f"{seconds:.2f}", "", None)
    report.row("calls without an answer", ", ".join(machine.gpus[0].unavailable) or "none", "", None)
    uuids = {gpu.index: gpu.uuid for gpu in machine.gpus}
    return [uuids[index] for index in hardware.check_visible(machine, os.environ)]


def memory(report: Report, sampler: Sampler, load: Load) -> None:
    results = []
    for _ in range(5):
        load.release()
        before = watched(sampler, lambda: time.sleep(1.0))
        load.hold(GIB)
        after = watched(sampler, lambda: time.sleep(1.0))
        results.append((after["memory_used_mib"] or 0) - (before["memory_used_mib"] or 0))
    load.release()
    error = max(abs(result / 1024 - 1) for result in results) * 100
    report.put("memory_1_gib_mib", results)
    report.row("1 GiB allocation read, worst error of 5", f"{error:.2f} %", "<= 1 %", error <= 1)


def copies(report: Report, sampler: Sampler, load: Load) -> None:
    for direction, work, name in (
        ("to the GPU", load.copy_to_gpu, "pcie_rx_mib"),
        ("from the GPU", load.copy_from_gpu, "pcie_tx_mib"),
        # Should the counters be 32 bits wide and late, one go wraps them unseen; ten do not.
        ("to the GPU in ten goes", partial(in_goes, load.copy_to_gpu), "pcie_rx_mib"),
    ):
        work(1)
        time.sleep(1.5)
        windows = []
        for _ in range(3):
            idle = watched(sampler, lambda: time.sleep(1.0))
            before = raw_counters()
            busy = watched(sampler, lambda work=work: work(10), settle_s=1.5)  # type: ignore[misc]
            windows.append({"idle": idle, "busy": busy, "raw": [before, raw_counters()]})
        report.put(f"copy 10 GiB {direction}", windows)
        read = [window["busy"][name] for window in windows]
        if None in read:
            report.row(f"10 GiB copied {direction}", "unavailable", "<= 5 %", None)
            continue
        error = max(abs(value / 10240 - 1) for value in read) * 100
        rates = [10240 * MIB / window["busy"]["work_s"] / 1e9 for window in windows]
        text = f"{error:.2f} % ({statistics.median(rates):.1f} GB/s)"
        report.row(f"10 GiB copied {direction}, worst error of 3", text, "<= 5 %", error <= 5)


def in_goes(copy: Callable[[int], None], gib: int) -> None:
    """Copy with pauses, in which the counters can follow."""
    for _ in range(gib):
        copy(1)
        time.sleep(0.15)


def raw_counters() -> dict[str, Any]:
    """Return PCIe counters just as NVML has them, with their types: what the sampler's figures are made of."""
    pynvml = nvml.binding()
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    fields = {"tx": pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES, "rx": pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES}
    answers = pynvml.nvmlDeviceGetFieldValues(handle, list(fields.values()))
    return {
        name: {"return": answer.nvmlReturn, "type": answer.valueType, "value": answer.value.ullVal,
               "latency_us": answer.latencyUsec}
        for name, answer in zip(fields, answers, strict=True)
    }  # fmt: skip


def energy(report: Report, sampler: Sampler, load: Load) -> None:
    load.burn(3)
    windows = [watched(sampler, lambda: load.burn(10)) for _ in range(3)]
    report.put("energy", windows)
    pairs = [(window["energy_j"], window["energy_from_power_j"]) for window in windows]
    if any(None in pair for pair in pairs):
        report.row("energy counter against integrated power", "unavailable", "<= 3 %", None)
    else:
        error = max(abs(counter / integrated - 1) for counter, integrated in pairs) * 100
        text = f"{error:.2f} % ({pairs[0][0] / 10:.0f} W)"
        report.row("energy counter against integrated power, worst", text, "<= 3 %", error <= 3)
    for name in ("gpu_utilisation_pct", "sm_activity_pct", "tensor_activity_pct", "dram_activity_pct", "sm_clock_mhz",
                 "power_w", "throttle_sw_power_cap_pct", "missed_pct"):  # fmt: skip
        value = windows[0][name]
        report.row(f"  FP16 8192^3 matmul: {name}", "null" if value is None else f"{value:.1f}", "", None)


def turns(report: Report, uuids: list[str], *, is_dry: bool) -> None:
    """Let two processes take turns on one GPU, then work on one each where there are two."""
    for pair in [uuids[:1] * 2] + [uuids[:2]] * (len(uuids) > 1):
        command = [sys.executable, __file__, *(["--dry-run"] if is_dry else []), "--take-turns"]
        runs = [
            subprocess.Popen(
                [*command, uuid], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": uuid},
            )
            for uuid in pair
        ]  # fmt: skip
        for run in runs:
            assert run.stdout is not None
            run.stdout.readline()  # loaded and warm
        samplers = [Sampler.start([run.pid], uuid) for run, uuid in zip(runs, pair, strict=True)]
        time.sleep(1.5)
        started = time.monotonic_ns()
        for run in runs:
            assert run.stdin is not None
            run.stdin.write("go\n")
            run.stdin.flush()
        spans = sorted(tuple(span) for run in runs for span in json.loads(run.communicate()[0]))
        ended = time.monotonic_ns()
        windows = [sampler.window(started, ended) for sampler in samplers]
        for sampler in samplers:
            sampler.stop()
        met = sum(end > start for (_, end), (start, _) in pairwise(spans))
        is_same = pair[0] == pair[1]
        what = "two processes, one GPU" if is_same else "two processes, a GPU each"
        report.put(what, {"spans": spans, "telemetry": windows})
        report.row(
            f"{what}: of {len(spans)} turns met another", str(met), "0" if is_same else "> 0", (met == 0) == is_same
        )
        uses = [window["gpu_utilisation_pct"] for window in windows]
        report.row(f"{what}: utilisation of each", ", ".join(f"{use or 0:.0f} %" for use in uses), "", None)


def take_turns(uuid: str, load: Load) -> None:
    """Be one of the processes of :func:`turns`."""
    load.burn(0.5)
    print("ready", flush=True)
    sys.stdin.readline()
    spans = []
    for _ in range(10):
        time.sleep(0.06)  # longer than the lock is polled, so that the other one gets its turn
        with lock.hold(uuid, timeout_s=60):
            started = time.monotonic_ns()
            load.burn(0.25)
            spans.append([started, time.monotonic_ns()])
    print(json.dumps(spans), flush=True)


def second_gpu(report: Report, uuid: str, sampler: Sampler, load: Load) -> None:
    """Load the first GPU alone and watch both: each sampler must tell its own card."""
    with Sampler.start([os.getpid()], uuid) as other:
        time.sleep(1.5)
        started = time.monotonic_ns()
        busy = watched(sampler, lambda: load.burn(5))
        idle = other.window(started, time.monotonic_ns())
    report.put("two_gpus", {"loaded": busy, "idle": idle})
    powers = f"{busy['power_w'] or 0:.0f} W and {idle['power_w'] or 0:.0f} W"
    uses = (busy["gpu_utilisation_pct"] or 0, idle["gpu_utilisation_pct"] or 0)
    report.row("load on GPU 0 alone: utilisation of GPU 0, 1", f"{uses[0]:.0f} %, {uses[1]:.0f} % ({powers})",
               "90, 5", uses[0] >= 90 and uses[1] <= 5)  # fmt: skip


def calibrated(load: Load, *, seconds: float) -> int:
    """Return how many calls take about ``seconds``."""
    load.block(200)
    return int(seconds * 1e9 / statistics.median(load.block(200)))


def effect(report: Report, sampler: Sampler, load: Load, *, blocks: int = 50, seconds: float = 150) -> None:
    """Median of a small kernel while the sampler runs and while it is stopped, alternating."""
    calls = calibrated(load, seconds=0.4)
    medians: dict[bool, list[float]] = {True: [], False: []}
    tails: dict[bool, list[float]] = {True: [], False: []}
    deadline = time.monotonic() + seconds
    for index in range(blocks):
        # on, off, off, on …: a drift of the clocks touches both alike
        for is_on in (True, False) if index % 2 == 0 else (False, True):
            os.kill(sampler.pid, signal.SIGCONT if is_on else signal.SIGSTOP)
            load.block(calls // 4)
            times = sorted(load.block(calls))
            medians[is_on].append(statistics.median(times))
            tails[is_on].append(times[int(0.99 * len(times))])
        if time.monotonic() > deadline:
            break
    os.kill(sampler.pid, signal.SIGCONT)
    changes = [100 * (on / off - 1) for on, off in zip(medians[True], medians[False], strict=True)]
    tail = [100 * (on / off - 1) for on, off in zip(tails[True], tails[False], strict=True)]
    ordered = sorted(changes)
    n = len(ordered)
    # Order-statistic bounds of the median, about 95 %: ranks n/2 -+ 0.98 sqrt(n)
    low, high = ordered[max(0, int(n / 2 - 0.98 * n**0.5))], ordered[min(n - 1, int(n / 2 + 0.98 * n**0.5))]
    middle = statistics.median(changes)
    report.put("sampler_effect", {"changes_pct": changes, "p99_changes_pct": tail, "medians_ns": {
        "on": medians[True], "off": medians[False]}})  # fmt: skip
    report.row(f"sampler on/off, median call, {n} block pairs", f"{middle:+.2f} % ({low:+.2f} … {high:+.2f})",
               "<= 0.5 %", abs(middle) <= 0.5)  # fmt: skip
    report.row("sampler on/off, p99 of calls", f"{statistics.median(tail):+.2f} %", "<= 1 %", None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="sleep instead of using the GPU")
    parser.add_argument("--blocks", type=int, default=50)
    parser.add_argument("--take-turns", metavar="UUID", help="be one of two processes; used by this script itself")
    options = parser.parse_args()
    if options.take_turns:
        take_turns(options.take_turns, DryLoad() if options.dry_run else Load())
        return
    out = Path(os.environ.get("OUT", "."))
    out.mkdir(parents=True, exist_ok=True)
    report = Report(out / "machine_gpu.json")
    uuid, *others = probe(report)
    load = DryLoad() if options.dry_run else Load()
    report.row("CUDA's first GPU is the probe's first", load.uuid(), "", options.dry_run or load.uuid() == uuid)
    with Sampler.start([os.getpid()], uuid) as sampler:
        time.sleep(1.5)
        report.put("idle", watched(sampler, lambda: time.sleep(5)))
        parts: list[Callable[[Report, Sampler, Load], None]] = [memory, copies, energy]
        if others:
            parts.append(lambda report, sampler, load: second_gpu(report, others[0], sampler, load))
        for part in (*parts, partial(effect, blocks=options.blocks)):
            attempt(part, report, sampler, load)
        report.put("hung", sampler.hung)
    attempt(
        lambda report, *_: turns(report, [uuid, *others], is_dry=options.dry_run), report, sampler, load
    )  # after the others: its children take memory of the same GPU
    report.print()


def attempt(part: Callable[[Report, Sampler, Load], None], report: Report, sampler: Sampler, load: Load) -> None:
    """Run one part; the others are worth having when it fails."""
    try:
        part(report, sampler, load)
    except Exception as error:  # noqa: BLE001 - whatever a strange machine comes up with
        report.put(f"{part!r} failed", repr(error))
        report.row(str(part)[:46], repr(error)[:34], "", False)


if __name__ == "__main__":
    main()
