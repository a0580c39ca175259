"""``gpuperf explain``: which layers make a case slower than another program, revision, case or engine file."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from pytest_gpuperf import attribution
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import CaseResult, Layer
from pytest_gpuperf.report import results
from pytest_gpuperf.report.results import Results

TOP = 15
_ABSENT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("case", help="pytest's id of the test, as reports show it: suites/test_x.py::test_y[8]")
    parser.add_argument(
        "--against",
        metavar="CASE|FILE|baseline|git:REV|python:INTERPRETER",
        help="another test, an engine or graph file, or what --gpu-against takes (default: nothing)",
    )
    parser.add_argument("--profile", default="auto", help="server profile (default: auto)")
    parser.add_argument("--top", type=int, default=TOP, metavar="N", help=f"layers to print (default {TOP})")
    parser.add_argument("--out", type=Path, default=Path(".gpuperf/explain"), metavar="DIR", help="for results.json")
    cache = Path(os.environ.get("GPUPERF_CACHE", ".gpuperf/cache"))
    parser.add_argument("--cache", type=Path, default=cache, metavar="DIR", help="folder of converted models")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="take graphs and inputs from this bundle")


def run(args: argparse.Namespace) -> int:
    """Time both sides, write results.json, print the table."""
    if args.top < 1:
        raise ConfigError("--top is no number of layers", got=str(args.top), expected="an integer of at least 1")
    other = args.against if args.against and "::" in args.against else None
    found = timed(args, args.case, args.out, None if other else args.against)
    case = found.cases[0]
    if other:
        case = beside(case, timed(args, other, args.out / "against", None).cases[0])
    document = results.document(
        found.profile,
        found.fingerprint,
        [case, *found.cases[1:]],
        started=found.started,
        seconds=found.seconds,
        is_complete=found.is_complete,
        command=found.command,
    )
    written = args.out / "results.json"
    results.write(written, document)
    print("\n".join([*table(case, args.top), f"all layers: {written}"]))  # noqa: T201 - a command
    return 0


def timed(args: argparse.Namespace, case_id: str, out: Path, against: str | None) -> Results:
    """Run one test with ``--gpu-layers`` in a pytest of its own, and return what it found.

    Raises:
        ConfigError: there is no such test, or its layers could not be timed.
    """
    options = {"profile": args.profile, "out": out.absolute(), "cache": args.cache.absolute(), "require": 0}
    options |= {"bundle": args.bundle.absolute()} if args.bundle else {}
    options |= {"against": spelled(against)} if against else {}
    written = out / "results.json"
    written.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", case_id, "--gpu-layers", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(  # noqa: S603 - the user's own test
        [*command, *(f"--gpu-{name}={value}" for name, value in options.items())],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode == 0 and written.exists():
        return results.read(written)
    reason = results.read(written).cases[0].verdict if written.exists() else None
    raise ConfigError(
        f"the layers of {case_id} cannot be timed" + (f": {reason.reason}" if reason else ""),
        got=" ".join(" ".join(reason.hints).split()) if reason else "\n            ".join(_tail(done.stdout)),
        expected="one test that calls gpuperf.check, and a server profile of this machine",
    )


def _tail(output: str) -> list[str]:
    return output.strip().splitlines()[-6:]


def spelled(against: str) -> str:
    """Return what ``--gpu-against`` understands: the path of a file is short for ``engine:FILE``."""
    return f"engine:{Path(against).absolute()}" if Path(against).exists() else against


def beside(case: CaseResult, other: CaseResult) -> CaseResult:
    """Return the case with its layers set beside those of another case."""
    own, theirs = ({layer.name: layer.measured_ms or 0.0 for layer in each.layers} for each in (case, other))
    return replace(case, reference=other.id, layers=attribution.pair(own, theirs))


def table(case: CaseResult, top: int) -> list[str]:
    """Return the case's layers in lines that are read on a terminal, the largest difference first."""
    own, theirs = (
        sum(getattr(layer, side) or 0.0 for layer in case.layers) for side in ("measured_ms", "reference_ms")
    )
    is_compared = any(layer.difference_ms is not None for layer in case.layers)
    total = Layer(
        name=f"all {len(case.layers)} layers",
        measured_ms=own,
        reference_ms=theirs if is_compared else None,
        difference_ms=own - theirs if is_compared else None,
    )
    return [
        f"{case.id}   against {case.reference}" if is_compared else f"{case.id}   reference: {case.reference}",
        f"{'measured ms':>12}{'reference ms':>14}{'difference ms':>15}  layer",
        *(_line(layer) for layer in (*case.layers[:top], total)),
    ]


def _line(layer: Layer) -> str:
    difference = _ABSENT if layer.difference_ms is None else f"{layer.difference_ms:+.4f}"
    return f"{_ms(layer.measured_ms):>12}{_ms(layer.reference_ms):>14}{difference:>15}  {layer.name}"


def _ms(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.4f}"
