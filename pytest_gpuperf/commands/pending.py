"""Where pending baselines come from: a run's folder, one file, or the zip archive that CI keeps of it."""

from __future__ import annotations

import argparse
import shlex
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pytest_gpuperf import approval, baselines
from pytest_gpuperf.baselines import Pending
from pytest_gpuperf.errors import BaselineError, ConfigError

MAX_FILES = 1000
_MIN_PARTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One pending file; ``path`` is ``None`` inside an archive, which stays as it is."""

    name: str
    pending: Pending
    path: Path | None

    def remove(self, case_ids: set[str]) -> None:
        """Take settled cases out of the pending file."""
        if self.path is not None and case_ids:
            baselines.update_pending(self.path, {}, {}, remove=case_ids)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command that reads pending baselines understands."""
    parser.add_argument(
        "pending", nargs="?", type=Path, metavar="PENDING", help="folder, file or zip archive (default: OUT/pending)"
    )
    parser.add_argument(
        "--from", dest="out", type=Path, default=Path(".gpuperf"), metavar="OUT", help="the run's folder"
    )
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), metavar="DIR", help="approved baselines")


def load(args: argparse.Namespace) -> list[Source]:
    """Return the pending files that the command line names.

    Raises:
        ConfigError: there are none.
        BaselineError: one of them cannot be trusted.
    """
    place: Path = args.pending or args.out / "pending"
    sources = [source for source in _sources(place) if source.pending.entries]
    for source in sources:
        approval.check_measured(source.pending, source.name)
    if not sources:
        raise ConfigError(
            f"no pending baselines in {place}", hint="pytest --gpu-profile=NAME --gpu-update=changed writes them"
        )
    return sources


def commit(written: Iterable[Path], reason: str) -> str:
    """Return what was written and the command that commits it."""
    paths = [str(path) for path in written]
    add = f"git add {shlex.join(paths)} && git commit -m {shlex.quote(reason)}"
    return f"wrote {', '.join(paths)}; commit it: {add}"


def _sources(place: Path) -> Iterator[Source]:
    if place.is_dir():
        root = place / "pending" if (place / "pending").is_dir() else place
        for path in sorted(root.glob("*/*.json")):
            yield Source(name=str(path), pending=baselines.read_pending(path), path=path)
    elif place.suffix == ".zip" and place.is_file():
        yield from _unpacked(place)
    elif place.is_file():
        yield Source(name=str(place), pending=baselines.read_pending(place), path=place)


def _unpacked(archive: Path) -> Iterator[Source]:
    """Read an archive in memory; nothing is extracted, so that no name in it can lead anywhere."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if _is_pending(PurePosixPath(member.filename))]
            if len(members) > MAX_FILES:
                raise BaselineError(f"{archive} has too many files", got=str(len(members)), expected=f"{MAX_FILES}")
            for member in members:
                with file.open(member) as stream:
                    content = stream.read(baselines.MAX_BYTES + 1)
                name = f"{archive}/{member.filename}"
                yield Source(name=name, pending=baselines.decode_pending(name, content), path=None)
    except (zipfile.BadZipFile, NotImplementedError, OSError, RuntimeError, ValueError) as error:
        raise BaselineError(f"{archive} is not a readable zip archive", got=str(error)) from error


def _is_pending(path: PurePosixPath) -> bool:
    """Whether an archive's member lies where pending files do: ``[…/pending/]PROFILE/SUITE.json``."""
    folders = path.parts[:-1]
    is_placed = "pending" in folders if len(folders) >= _MIN_PARTS else len(folders) == 1
    return path.suffix == ".json" and is_placed and folders[-1] != "pending"
