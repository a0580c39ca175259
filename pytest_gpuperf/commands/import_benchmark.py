"""``gpuperf import-benchmark``: what pytest-benchmark saved becomes pending baselines."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_gpuperf import baselines, interop, profiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("file", type=Path, metavar="FILE", help="JSON that pytest-benchmark saved")
    parser.add_argument("--profile", required=True, metavar="NAME", help="server profile that it was measured on")
    parser.add_argument("--suite", required=True, metavar="NAME", help="suite that the baselines belong to")
    parser.add_argument("--out", type=Path, default=Path(".gpuperf"), metavar="DIR", help="folder of the pending files")


def run(args: argparse.Namespace) -> int:
    """Write the pending file; the whole FILE is checked first."""
    profile = profiles.load(args.profile).name
    pending = interop.read(args.file, profile=profile, suite=args.suite)
    path = baselines.pending_path(args.out, profile, args.suite)
    baselines.update_pending(path, pending.entries, pending.results)
    print(f"{len(pending.entries)} pending baselines in {path}; look at them with: gpuperf review --from {args.out}")  # noqa: T201
    return 0
