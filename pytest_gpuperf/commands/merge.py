"""``gpuperf merge``: join the two sides of a baseline file that git could not merge."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_gpuperf import approval, baselines, files
from pytest_gpuperf.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a baseline file with merge conflicts")


def run(args: argparse.Namespace) -> int:
    """Take every case of both sides; of one that both changed, the later approval."""
    path: Path = args.file
    sides = [approval.git(path.parent, "show", f":{stage}:./{path.name}") for stage in (2, 3)]
    if not all(sides):
        raise ConfigError(
            f"git knows of no merge conflict in {path}", hint=f"bring the committed file back: git checkout -- {path}"
        )
    ours, theirs = (
        baselines.decode(f"{path} ({side})", text.encode())
        for side, text in zip(("ours", "theirs"), sides, strict=True)
    )
    files.write_bytes(path, baselines.encode(baselines.merge(ours, theirs)))
    print(f"merged {path}; then: git add {path}")  # noqa: T201
    return 0
