"""``gpuperf baseline``: list, rename or remove approved entries."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pytest_gpuperf import baselines, history, profiles, roofline
from pytest_gpuperf.baselines import Suite
from pytest_gpuperf.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR", help="approved baselines")
    parser.add_argument("--profile", metavar="NAME", help="only this server profile's")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="show every entry")
    move = actions.add_parser("mv", help="a test was renamed: take its entries along")
    move.add_argument("old", metavar="OLD-ID")
    move.add_argument("new", metavar="NEW-ID")
    remove = actions.add_parser("rm", help="a test is gone: remove its entries")
    remove.add_argument("ids", nargs="+", metavar="ID")


def run(args: argparse.Namespace) -> int:
    """Do what the action says, in every profile that has the entry."""
    found = list(_suites(args.baselines, args.profile))
    if args.action == "list":
        for _, suite in found:
            _show(suite)
    elif args.action == "mv":
        _move(found, args.old, args.new)
    else:
        for case_id in args.ids:
            _remove(found, case_id)
    return 0


def _suites(root: Path, profile: str | None) -> Iterator[tuple[Path, Suite]]:
    for path in sorted(root.glob(f"{profile or '*'}/*.json")):
        yield path, baselines.read(path)


def _show(suite: Suite) -> None:
    print(f"{suite.profile}/{suite.suite}")  # noqa: T201
    known = suite.profile in profiles.known()
    flags = roofline.published(suite.entries, profiles.load(suite.profile), {}) if known else {}
    for case_id, entry in sorted(suite.entries.items()):
        origin = entry.provenance
        by = f" by {origin.approver}" if origin.approver else ""
        print(f"  {case_id}  {origin.kind} {origin.date}{by}: {origin.reason or origin.source}")  # noqa: T201
        for flag in flags.get(case_id, ()):
            print(f"    cannot be right: {flag.text}")  # noqa: T201


def _move(found: list[tuple[Path, Suite]], old: str, new: str) -> None:
    holders = _holders(found, old)
    for path, suite in holders:
        if new in suite.entries:
            raise ConfigError(
                f"{path} has an entry {new!r} already", hint=f"remove it first: gpuperf baseline rm {new!r}"
            )
    for path, suite in holders:
        baselines.update(path, {new: suite.entries[old]}, remove={old})
        history.rename(history.path(path.parents[1], suite.profile, suite.suite), old, new)
        print(f"{path}: {old} -> {new}")  # noqa: T201


def _remove(found: list[tuple[Path, Suite]], case_id: str) -> None:
    for path, _ in _holders(found, case_id):
        baselines.update(path, {}, remove={case_id})
        print(f"{path}: removed {case_id}")  # noqa: T201


def _holders(found: list[tuple[Path, Suite]], case_id: str) -> list[tuple[Path, Suite]]:
    holders = [(path, suite) for path, suite in found if case_id in suite.entries]
    if not holders:
        raise ConfigError("no baseline has such an entry", got=repr(case_id), hint="gpuperf baseline list shows all")
    return holders
