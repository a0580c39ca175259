"""``gpuperf cache``: look at, prune and clear converted models, engines and timing caches."""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_gpuperf import files
from pytest_gpuperf.errors import ConfigError

DAY_S = 86_400.0
MIB = 1 << 20
#: What may be removed: entries of these folders, and nothing else that lies in the cache's folder.
FOLDERS = ("savedmodel", "onnx", "tensorrt", "bundle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing in the cache: a folder of the converter, or an engine with its record.

    Attributes:
        used_s: time of the last change or use, seconds since the epoch.
    """

    kind: str
    name: str
    paths: tuple[Path, ...]
    size: int
    used_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--cache", type=Path, default=Path(".gpuperf/cache"), metavar="DIR", help="folder of the cache")
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|prune|clear")
    actions.add_parser("list", help="list entries, the least recently used first")
    prune = actions.add_parser("prune", help="remove entries that were not used for a while, or until the rest fits")
    prune.add_argument("--older-than-days", type=float, metavar="N", help="remove what was not used for N days")
    prune.add_argument("--max-mib", type=float, metavar="N", help="remove the least recently used until N MiB are left")
    actions.add_parser("clear", help="remove all entries")


def run(args: argparse.Namespace) -> int:
    """List, prune or clear."""
    found = entries(args.cache)
    if args.action == "list":
        for entry in found:
            _say(f"{entry.kind:10}  {entry.name:32}  {entry.size / MIB:9.1f} MiB  {_age(entry)}")
        _say(f"{len(found)} entries, {sum(entry.size for entry in found) / MIB:.1f} MiB, in {args.cache}")
        return 0
    gone = found if args.action == "clear" else _stale(found, args.older_than_days, args.max_mib)
    for entry in gone:
        _remove(entry)
    _say(f"removed {len(gone)} of {len(found)} entries, {sum(entry.size for entry in gone) / MIB:.1f} MiB")
    return 0


def entries(root: Path) -> list[Entry]:
    """Return what is in the cache, the least recently used first."""
    found = []
    for kind in FOLDERS:
        groups: dict[str, list[Path]] = {}
        for path in (root / kind).glob("*"):
            if not path.name.startswith("."):
                groups.setdefault(path.stem, []).append(path)
        found += [_entry(kind, name, tuple(sorted(paths))) for name, paths in groups.items()]
    return sorted(found, key=lambda entry: (entry.used_s, entry.kind, entry.name))


def _entry(kind: str, name: str, paths: tuple[Path, ...]) -> Entry:
    parts = [part for path in paths for part in (path, *path.rglob("*")) if part.is_file()]
    stats = [part.stat() for part in parts]
    used = max((max(stat.st_mtime, stat.st_atime) for stat in stats), default=0.0)
    return Entry(kind=kind, name=name, paths=paths, size=sum(stat.st_size for stat in stats), used_s=used)


def _stale(found: list[Entry], days: float | None, max_mib: float | None) -> list[Entry]:
    if days is None and max_mib is None:
        raise ConfigError("nothing to prune by", hint="give --older-than-days or --max-mib")
    before = time.time() - days * DAY_S if days is not None else 0.0
    left = sum(entry.size for entry in found)
    stale = []
    for entry in found:
        if entry.used_s < before or (max_mib is not None and left > max_mib * MIB):
            stale.append(entry)
            left -= entry.size
    return stale


def _remove(entry: Entry) -> None:
    """Remove an entry while nobody builds it; its record goes first, so that a half-removed one is never trusted."""
    with files.lock(entry.paths[0]):
        for path in sorted(entry.paths, key=lambda path: path.suffix != ".json"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _age(entry: Entry) -> str:
    return f"{(time.time() - entry.used_s) / DAY_S:6.1f} days"


def _say(text: str) -> None:
    print(text)  # noqa: T201
