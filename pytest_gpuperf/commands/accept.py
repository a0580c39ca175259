"""``gpuperf accept``: pending entries become baselines, with a reason on record, without questions."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_gpuperf import approval
from pytest_gpuperf.commands import pending
from pytest_gpuperf.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    pending.add_arguments(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="accept every pending case")
    which.add_argument("--case", action="append", default=[], metavar="ID", help="accept this case (may be repeated)")
    parser.add_argument("--anchor", action="store_true", help="count drift over accepted runs anew from here")
    parser.add_argument("--reason", required=True, help="why the numbers moved; it is kept in the baseline")


def run(args: argparse.Namespace) -> int:
    """Accept the chosen cases of every pending file."""
    sources = pending.load(args)
    known = {case_id for source in sources for case_id in source.pending.entries}
    if missing := [case_id for case_id in args.case if case_id not in known]:
        raise ConfigError("no such pending case", got=repr(missing[0]), expected=", ".join(sorted(known)))
    name = approval.approver(Path.cwd())
    for source in sources:
        chosen = {case_id for case_id in source.pending.entries if args.all or case_id in args.case}
        if not chosen:
            continue
        written = approval.accept(
            source.pending,
            chosen,
            root=args.baselines,
            reason=args.reason,
            approver=name,
            source=source.name,
            anchor=args.anchor,
        )
        source.remove(chosen)
        for case_id in sorted(chosen):
            print(f"accepted {case_id}")  # noqa: T201
        print(pending.commit(written, args.reason))  # noqa: T201
    return 0
