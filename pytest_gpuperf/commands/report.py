"""``gpuperf report``: make reports from results, whenever and wherever."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.report import formats, journal, merge, results
from pytest_gpuperf.report.results import Results

PAIR = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULTS.json",
        help="results of one session each; those of several server profiles are shown side by side",
    )
    parser.add_argument(
        "--format",
        default="markdown",
        metavar="FORMAT,…",
        help=f"{', '.join(formats.FORMATS)} (default: markdown)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the files (default: print, if there is only one)"
    )
    parser.add_argument(
        "--resume",
        type=Path,
        nargs="?",
        const=Path(".gpuperf") / journal.NAME,
        metavar="JOURNAL",
        help="a run that was killed: write results.json beside its journal first (default: .gpuperf/journal.jsonl)",
    )
    parser.add_argument(
        "--compare", action="store_true", help="two files: what changed from the first to the second (html, markdown)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the reports; 0 when all are written."""
    names = [name.strip() for name in args.format.split(",") if name.strip()]
    formats.check(names)
    paths = [*args.results, *([resumed(args.resume)] if args.resume else [])]
    if not paths:
        raise ConfigError(
            "no results to report on", hint="name a results.json, or --resume the journal of a killed run"
        )
    sessions = [results.read(path) for path in paths]
    rendered = formats.render(names, sessions, _tables(sessions, is_comparison=args.compare))
    if args.out is not None:
        for path in formats.write(args.out, rendered):
            sys.stdout.write(f"wrote {path}\n")
        return 0
    if len(rendered) != 1:
        raise ConfigError(
            "several files cannot be printed at once", got=", ".join(rendered) or "no format", hint="add --out DIR"
        )
    (text,) = rendered.values()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    return 0


def resumed(path: Path) -> Path:
    """Write ``results.json`` beside a journal, and return its path."""
    target = path.with_name("results.json")
    results.write(target, journal.resume(path))
    return target


def _tables(sessions: Sequence[Results], *, is_comparison: bool) -> list[merge.Table]:
    if not is_comparison:
        is_several = len({session.profile for session in sessions}) > 1
        return [*merge.side_by_side(sessions), *merge.by_server(sessions)] if is_several else []
    if len(sessions) != PAIR:
        raise ConfigError(
            "--compare takes two results files", got=f"{len(sessions)}", hint="name the earlier run first"
        )
    return [merge.compare(*sessions)]
