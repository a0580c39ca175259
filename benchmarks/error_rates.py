"""How often verdicts are wrong on this machine, beside what other tools say to the very same processes.

    python benchmarks/error_rates.py measure --sessions 80 [--effects 0 3 10] [--neighbour] [--out FILE]
    python benchmarks/error_rates.py report  [--out …]

A session runs every workload once with each effect (0, +3, +10 %), in random order; each is one comparison by fresh
process pairs, the code path of a live pair. One line per comparison is appended, so a run that was stopped goes on
where it was. With ``--neighbour`` a busy process is started about half-way through each comparison.

Other tools' rules see what they would have seen: the candidate's blocks of the first process of this session, and as
stored baseline the reference's blocks of the first process of the session before; asv, which starts two processes,
those of the first two.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from workloads import NAMES

from pytest_gpuperf import comparison, selfcheck, stats
from pytest_gpuperf.commands.selfcheck import RULE
from pytest_gpuperf.records import Block

EFFECTS = (0.0, 3.0, 10.0)
HERE = Path(__file__).parent
NEIGHBOUR_AFTER_S = 1.5
#: Medians kept per process for the other tools' rules, nanoseconds, and how many blocks in a row one is of (20 ms).
KEPT, GROUP = 8, 4

Raw = dict[str, Any]


def measure(arguments: argparse.Namespace) -> None:
    """Append the comparisons that are missing."""
    done = {(raw["session"], raw["workload"], raw["effect_pct"]) for raw in _read(arguments.out)}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("GPUPERF_WORKLOADS", str(arguments.cache / "workloads"))
    for session in range(arguments.sessions):
        rng = Random(f"{arguments.seed} {session}")
        todo = [(name, effect) for name in arguments.workloads for effect in arguments.effects]
        rng.shuffle(todo)
        for name, effect in todo:
            if (session, name, effect) in done:
                continue
            raw = {"session": session, **_compare(name, effect, rng, arguments)}
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(raw, separators=(",", ":")) + "\n")
            print(f"session {session} {name} {effect:+g} %: {raw['decision']} {raw['ratio']:.4f}", flush=True)


def _compare(name: str, effect: float, rng: Random, arguments: argparse.Namespace) -> Raw:
    open_pair = selfcheck.workers(
        arguments.cache / "workers.log", arguments.cache, work=f"workloads.py:{name}", root=str(HERE)
    )(effect)
    rounds: list[tuple[Recorder, Recorder]] = []

    @contextmanager
    def recorded() -> Iterator[tuple[Recorder, Recorder]]:
        with open_pair() as (candidate, reference):
            rounds.append((Recorder(candidate), Recorder(reference)))
            yield rounds[-1]

    with _neighbour(NEIGHBOUR_AFTER_S if arguments.neighbour else None):
        compared = comparison.compare_processes(recorded, rule=RULE, rng=rng)
    return {
        **{key: _rounded(value) for key, value in asdict(selfcheck.trial(name, effect, compared.comparison)).items()},
        "log_ratios": [round(_log_ratio(*sides), 6) for sides in rounds],
        "blocks_ns": [side.grouped() for side in rounds[0]],
        "second_ns": [side.grouped() for side in rounds[1]],
    }


class Recorder:
    """A sampler that keeps the median of each block on its way through."""

    def __init__(self, sampler: comparison.Sampler) -> None:
        self._sampler = sampler
        self.medians_ns: list[int] = []

    def measure(self, *, seconds: float, max_calls: int, core: int | None = None) -> Block:
        """Measure, and keep the median."""
        block = self._sampler.measure(seconds=seconds, max_calls=max_calls, core=core)
        self.medians_ns.append(round(stats.median(block.host_ns)))
        return block

    def grouped(self) -> list[int]:
        """Return medians of blocks in a row."""
        starts = range(0, len(self.medians_ns), GROUP)
        return [round(stats.median(self.medians_ns[at : at + GROUP])) for at in starts][:KEPT]


def _log_ratio(candidate: Recorder, reference: Recorder) -> float:
    pairs = zip(candidate.medians_ns, reference.medians_ns, strict=True)
    return stats.median([math.log(ours / theirs) for ours, theirs in pairs])


@contextmanager
def _neighbour(after_s: float | None) -> Iterator[None]:
    """Start a process that spins, some seconds into the comparison."""
    started: list[subprocess.Popen[bytes]] = []
    spin = [sys.executable, "-c", "while True: pass"]
    timer = threading.Timer(after_s or 0, lambda: started.append(subprocess.Popen(spin)))
    if after_s is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join() if timer.is_alive() else None
        for process in started:
            process.kill()
            process.wait()


def report(arguments: argparse.Namespace) -> None:
    """Print rates with exact bounds: ours, and other tools' on the same processes."""
    trials = _read(arguments.out)
    stored = {(raw["session"], raw["workload"]): raw for raw in trials if raw["effect_pct"] == 0}
    print(f"{len(trials)} comparisons, margin {RULE.margin_pct:g} %, budget {RULE.budget_s:g} s\n")
    print("| rule | " + " | ".join(f"{effect:+g} % called slower" for effect in EFFECTS) + " | A/A suites red |")
    print("|---|" + "---|" * (len(EFFECTS) + 1))
    rules: dict[str, Callable[[Raw], bool | None]] = {
        "**pytest-gpuperf**": lambda raw: raw["decision"] == "regressed",
        "pytest-benchmark `median:5%`": lambda raw: _median_rule(raw, stored),
        "asv (Mann-Whitney p < 0.002 and > 1.1)": lambda raw: _asv_rule(raw, stored),
    }
    for name, rule in rules.items():
        cells = [_rate([rule(raw) for raw in trials if raw["effect_pct"] == effect]) for effect in EFFECTS]
        print(f"| {name} | " + " | ".join(cells) + f" | {_rate(_suites(trials, rule))} |")
    print("\n| effect | workload | achieved | slower | within | undecided | median seconds |")
    print("|---|---|---|---|---|---|---|")
    for effect in EFFECTS:
        for name in NAMES:
            these = [raw for raw in trials if (raw["effect_pct"], raw["workload"]) == (effect, name)]
            if these:
                print(f"| {effect:+g} % | {name} | " + " | ".join(_row(these)) + " |")


def _row(these: list[Raw]) -> list[str]:
    achieved = 100 * (stats.median([raw["ratio"] for raw in these]) - 1)
    decisions = ("regressed", "within", "undecided")
    shares = [_rate([raw["decision"] == decision for raw in these]) for decision in decisions]
    return [f"{achieved:+.2f} %", *shares, f"{stats.median([raw['seconds'] for raw in these]):.1f}"]


def _median_rule(raw: Raw, stored: dict[tuple[int, str], Raw]) -> bool | None:
    before = stored.get((raw["session"] - 1, raw["workload"]))
    return None if before is None else stats.median(raw["blocks_ns"][0]) > 1.05 * stats.median(before["blocks_ns"][1])


def _asv_rule(raw: Raw, stored: dict[tuple[int, str], Raw]) -> bool | None:
    from scipy.stats import mannwhitneyu

    last = stored.get((raw["session"] - 1, raw["workload"]))
    if last is None or not (raw.get("second_ns") and last.get("second_ns")):  # five values cannot reach its p
        return None
    now, before = raw["blocks_ns"][0] + raw["second_ns"][0], last["blocks_ns"][1] + last["second_ns"][1]
    return mannwhitneyu(now, before).pvalue < 0.002 and stats.median(now) > 1.1 * stats.median(before)


def _suites(trials: list[Raw], rule: Callable[[Raw], bool | None]) -> list[bool]:
    """Return for each session with identical programs whether any workload was called slower."""
    sessions: dict[int, list[bool]] = defaultdict(list)
    for raw in trials:
        called = rule(raw) if raw["effect_pct"] == 0 else None
        if called is not None:
            sessions[raw["session"]].append(called)
    return [any(called) for called in sessions.values()]


def _rate(called: list[bool | None] | list[bool]) -> str:
    known = [each for each in called if each is not None]
    if not known:
        return "-"
    rate = selfcheck.Rate.of(sum(known), len(known))
    return f"{rate.hits}/{rate.trials} = {rate.hits / rate.trials:.1%} (≤ {rate.upper:.1%})"


def _rounded(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value


def _read(path: Path) -> list[Raw]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def main() -> None:
    """Measure or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "report"))
    parser.add_argument("--sessions", type=int, default=80)
    parser.add_argument("--workloads", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--effects", nargs="+", type=float, default=EFFECTS, help="percent")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "raw" / "error_rates.jsonl")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/pytest-gpuperf/benchmarks").expanduser())
    parser.add_argument("--neighbour", action="store_true")
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    (measure if arguments.what == "measure" else report)(arguments)


if __name__ == "__main__":
    main()
