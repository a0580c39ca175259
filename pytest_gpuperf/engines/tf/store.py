"""Converted SavedModels on disk. They hold machine code: only what this store recorded, unchanged, is ever loaded."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_gpuperf import files

#: TensorRT tries its kernels for minutes for each batch size.
BUILD_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A SavedModel that may be loaded; ``sha256`` is of its files, ``build_s`` what the conversion took."""

    path: Path
    sha256: str
    build_s: float


def get_or_build(
    root: Path, recipe: Mapping[str, str], build: Callable[[Path], None], *, progress: Callable[[str], None]
) -> Entry:
    """Return the SavedModel for ``recipe``, built at need; safe with several processes at once.

    The record is written last, so a folder without one is what a killed builder left, and is built again.

    Args:
        root: folder of the store.
        recipe: everything that shapes the SavedModel.
        build: writes it into a folder that does not exist.
        progress: is told about a damaged entry.
    """
    key = hashlib.sha256(json.dumps(dict(recipe), sort_keys=True).encode()).hexdigest()[:32]
    path, record = root / key, root / f"{key}.json"
    with files.lock(path, timeout_s=BUILD_TIMEOUT_S):
        entry = _read(path, record, progress)
        if entry is not None:
            return entry
        record.unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
        started = time.monotonic()
        build(path)
        entry = Entry(path=path, sha256=_digest(path), build_s=time.monotonic() - started)
        content = {"sha256": entry.sha256, "build_s": entry.build_s, "recipe": dict(recipe)}
        files.write_bytes(record, json.dumps(content, indent=1, sort_keys=True).encode())
        return entry


def _read(path: Path, record: Path, progress: Callable[[str], None]) -> Entry | None:
    try:
        content = json.loads(record.read_bytes())
        entry = Entry(path=path, sha256=content["sha256"], build_s=content["build_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if _digest(path) != entry.sha256:
        progress(f"{path.name} does not have the recorded sha256 and is not loaded; converting it again")
        return None
    return entry


def _digest(folder: Path) -> str:
    sha = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        sha.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                sha.update(chunk)
    return sha.hexdigest()
