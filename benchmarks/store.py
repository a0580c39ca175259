"""How the baseline store bears kill -9 and many writers: `python benchmarks/store.py [--kills N] [--rounds N]`.

`--merges N --seed S` is another run altogether: N random triples of files, merged in every order.

Two figures, counted and not timed: of N writers killed in the middle of a write, how many left a file that cannot be
read or is a mixture, and how many stray files are left after the sweep of the next start; of 8 writers that add entries
at once, how many entries were lost. The foil is what `open(path, "w")` does under the same kills.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pytest_gpuperf import baselines, files
from pytest_gpuperf.errors import BaselineError
from pytest_gpuperf.records import BaselineEntry, Metric, Provenance

CASES = 50


def entry(value: float) -> BaselineEntry:
    """Return an entry of three metrics and six conditions."""
    return baselines.summarise(
        {name: Metric(value=value, unit="ms") for name in ("latency_p50_ms", "latency_p90_ms", "latency_p99_ms")},
        {"latency_p50_ms": [value] * 5},
        conditions={f"condition_{i}": "x" * 40 for i in range(6)},
        provenance=Provenance(kind="measured", date="2026-11-22", reason="benchmark"),
    )


def generation(number: int) -> bytes:
    """Return a whole file whose entries all carry the same number."""
    cases = {f"a.py::t[{case}]": entry(number) for case in range(CASES)}
    return baselines.encode(baselines.Suite(profile="a40", suite="s", entries=cases))


def write_plainly(path: Path, content: bytes) -> None:
    """Write as most programs do."""
    with path.open("wb") as file:
        file.write(content)


def killed(path: Path, kills: int, write: Callable[[Path, bytes], None]) -> tuple[int, int]:
    """Fork a writer that does nothing but write, kill it at a random moment, look.

    Returns:
        Files that were damaged, and how often the kill hit a write, by the temporary files it left.
    """
    contents = [generation(1), generation(2)]
    files.write_bytes(path, contents[0])
    damaged = strays = 0
    for _ in range(kills):
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(told, b"!")
            for content in itertools.cycle(contents):
                write(path, content)
        os.read(ready, 1)
        os.close(ready)
        os.close(told)
        time.sleep(random.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        try:
            entries = baselines.read(path).entries.values()
            is_whole = len(entries) == CASES and len({e.metrics["latency_p50_ms"].value for e in entries}) == 1
        except BaselineError:
            is_whole = False
        if not is_whole:
            damaged += 1
            files.write_bytes(path, contents[0])
        strays += len(files.sweep(path.parent))
    return damaged, strays


def raced(path: Path, writers: int, rounds: int) -> int:
    """Let writers add entries at the same time; return how many were lost."""
    children = []
    for writer in range(writers):
        child = os.fork()
        if child == 0:
            status = 1
            try:  # a child that gave up must not unwind into the parent's clean-up
                for i in range(rounds):
                    baselines.update(path, {f"a.py::t[{writer}-{i}]": entry(1.0 + i)})
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    failed = sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)
    if failed:
        print(f"{failed} writers failed", file=sys.stderr)
    return writers * rounds - len(baselines.read(path).entries)


def merged(merges: int, seed: int) -> int:
    """Merge random triples of files in every order; return how many broke a law of merging or raised anything."""
    rng = random.Random(seed)
    base = entry(1.0)
    broken = 0
    for _ in range(merges):
        files_ = [baselines.Suite(profile="a40", suite="s", entries=drawn(base, rng)) for _ in range(3)]
        try:
            broken += not is_lawful(*files_)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what is counted)
            print(f"{error!r} from {files_}", file=sys.stderr)
            broken += 1
    return broken


def drawn(base: BaselineEntry, rng: random.Random) -> dict[str, BaselineEntry]:
    """Return entries of some of three cases, few enough values that equal ones meet and many that no two are alike."""
    entries = {}
    for case in "abc":
        if rng.random() < 0.5:
            continue
        value = rng.choice([rng.choice([1.0, 2.0]), rng.lognormvariate(0, 3)])
        metric = dataclasses.replace(base.metrics["latency_p50_ms"], value=value)
        provenance = Provenance(
            kind=rng.choice(["measured", "published"]),
            date=f"2026-{rng.randint(1, 2):02}-{rng.randint(1, 28):02}",
            reason=rng.choice(["one", "two"]),
        )
        entries[case] = dataclasses.replace(base, metrics={"latency_p50_ms": metric}, provenance=provenance)
    return entries


def is_lawful(one: baselines.Suite, two: baselines.Suite, three: baselines.Suite) -> bool:
    """Return whether merging is commutative, associative and idempotent and loses no case."""
    merge = baselines.merge
    both = merge(one, two)
    return (
        both == merge(two, one)
        and merge(one, merge(two, three)) == merge(both, three)
        and merge(one, one) == one
        and merge(both, two) == both
        and both.entries.keys() == one.entries.keys() | two.entries.keys()
    )


def main() -> None:
    """Run what was asked for and print the table of docs/measurements.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--merges", type=int, default=0)
    parser.add_argument("--seed", type=int, default=2026)
    args = parser.parse_args()
    if args.merges:
        print(f"| random triples merged in every order | {args.merges} | {merged(args.merges, args.seed)} broken |")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store" / "a40" / "s.json"
        damaged, met = killed(path, args.kills, files.write_bytes)
        left = len(list(path.parent.glob(".*.tmp")))
        print(f"| kill -9 during writing | {args.kills} | {damaged} damaged | {met} hit a write, then {left} strays |")
        foil = max(1, args.kills // 10)
        damaged, _ = killed(Path(folder) / "foil" / "a40" / "s.json", foil, write_plainly)
        print(f"| the same with open(path, 'w') | {foil} | {damaged} damaged | |")
        lost = raced(Path(folder) / "race" / "a40" / "s.json", args.writers, args.rounds)
        print(
            f"| {args.writers} writers x {args.rounds} rounds | {args.writers * args.rounds} entries | {lost} lost | |"
        )


if __name__ == "__main__":
    main()
