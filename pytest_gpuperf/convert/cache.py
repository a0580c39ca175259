"""Artefacts by recipe: built once, by one process, and trusted only while they are what was built.

An entry is the folder ``<root>/<kind>/<key>`` with the content and, written last, ``manifest.json``: the recipe, the
content's sha256 and, for each file, digest, size and time of change. An entry comes into being by one rename, so a
killed builder leaves only a ``.building`` folder, which the next builder removes.

A hit compares each file's size and time of change with the manifest, which takes microseconds where digests of a
BERT take a second; where they differ, such as in a cache that was copied, the digests decide.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pytest_gpuperf.errors import InfraError
from pytest_gpuperf.records import Artefact

Progress = Callable[[str], None]

MANIFEST = "manifest.json"
#: A build that takes longer than this hangs: BERT-base takes about a minute.
WAIT_S = 1800.0
_SUFFIXES = {"onnx": ".onnx", "engine": ".engine"}


class Cache:
    """Artefacts below one folder, shared by the processes of a machine."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()

    def get_or_build(
        self, kind: str, recipe: dict[str, str], build: Callable[[Path], None], *, progress: Progress
    ) -> Artefact:
        """Return the artefact that ``recipe`` describes; ``build(path)`` writes it, a file or a folder, if need be.

        Two processes that ask at once build once: the other one waits.

        Args:
            kind: ``savedmodel``, ``onnx``, ``engine`` …: a subfolder of the cache.
            recipe: everything that the content depends on; equal recipes are the same artefact.
            build: writes the artefact to the path that it is given. What it raises is raised here, and leaves nothing.
            progress: called with one line when there is something to wait for.

        Raises:
            InfraError: the cache cannot be written, or another process builds for more than half an hour.
        """
        entry = self._entry(kind, recipe)
        if (artefact := _read(entry, kind, recipe)) is not None:
            return artefact
        with _lock(entry, progress):
            if (artefact := _read(entry, kind, recipe)) is not None:
                return artefact
            _clear(entry, progress)
            try:
                return _build(entry, kind, recipe, build)
            except OSError as error:
                raise _cannot_write(entry, error) from error

    def find(self, sha256: str) -> Artefact | None:
        """Return the undamaged artefact with this content, ``None`` where the cache has none."""
        for path in sorted(self.root.glob(f"*/*/{MANIFEST}")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                manifest = json.loads(path.read_bytes())
                if manifest["sha256"] == sha256:
                    return _read(path.parent, manifest["kind"], manifest["recipe"])
        return None

    def _entry(self, kind: str, recipe: dict[str, str]) -> Path:
        text = json.dumps([kind, sorted(recipe.items())], separators=(",", ":"))
        return self.root / kind / hashlib.sha256(text.encode()).hexdigest()[:32]


def given(path: Path) -> Artefact:
    """Return a file or folder that a person names as an artefact; its kind follows from its name."""
    if path.is_dir():
        files = {str(file.relative_to(path)): file_sha256(file) for file in sorted(path.rglob("*")) if file.is_file()}
        return Artefact(kind="savedmodel", path=str(path), sha256=files_sha256(files))
    kind = {".engine": "engine", ".plan": "engine"}.get(path.suffix, "onnx")
    return Artefact(kind=kind, path=str(path), sha256=file_sha256(path))


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    return sha.hexdigest()


def files_sha256(digests: dict[str, str]) -> str:
    """Return one sha256 for files by relative path and digest, whatever their order."""
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()


def _content(kind: str) -> str:
    return f"model{_SUFFIXES.get(kind, '')}"


@contextmanager
def _lock(entry: Path, progress: Progress) -> Iterator[None]:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(entry.with_name(f".{entry.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(f"waiting for another process that makes the same {entry.parent.name}")
            lock.acquire(timeout=WAIT_S, poll_interval=0.1)
    except Timeout as error:
        raise InfraError(
            f"another process has been making {entry} for too long",
            expected=f"at most {WAIT_S:g} s",
            hint="end it if it hangs, and run the same command again",
        ) from error
    except OSError as error:
        raise _cannot_write(entry, error) from error
    try:
        yield
    finally:
        lock.release()


def _clear(entry: Path, progress: Progress) -> None:
    """Remove what killed builders left (the lock is ours, so they are gone) and an entry that cannot be trusted."""
    for stray in entry.parent.glob(f".{entry.name}.building-*"):
        progress(f"removing what a killed process left of the same {entry.parent.name}")
        shutil.rmtree(stray, ignore_errors=True)
    if entry.exists():
        progress(f"the cached {entry.parent.name} {entry.name} is damaged: it is made again")
        shutil.rmtree(entry)


def _build(entry: Path, kind: str, recipe: dict[str, str], build: Callable[[Path], None]) -> Artefact:
    folder = entry.with_name(f".{entry.name}.building-{os.getpid()}")
    folder.mkdir()
    try:
        build(folder / _content(kind))
        files = {str(path.relative_to(folder)): _described(path) for path in _files(folder)}
        manifest = {"kind": kind, "recipe": recipe, "sha256": _sha256(files, kind), "files": files}
        _write(folder / MANIFEST, manifest)
        folder.rename(entry)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return _artefact(entry, manifest)


def _read(entry: Path, kind: str, recipe: dict[str, str]) -> Artefact | None:
    """Return the entry's artefact; ``None`` where there is none or it is not what was built."""
    try:
        manifest = json.loads((entry / MANIFEST).read_bytes())
        if manifest["kind"] != kind or manifest["recipe"] != recipe:
            return None
        if set(manifest["files"]) != {str(path.relative_to(entry)) for path in _files(entry)}:
            return None
        if all(_is_untouched(entry / name, described) for name, described in manifest["files"].items()):
            return _artefact(entry, manifest)
        return _recheck(entry, manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _recheck(entry: Path, manifest: dict[str, Any]) -> Artefact | None:
    files = {name: _described(entry / name) for name in manifest["files"]}
    if any(files[name]["sha256"] != described["sha256"] for name, described in manifest["files"].items()):
        return None
    with contextlib.suppress(OSError):  # a read-only cache is checked again next time
        _write(entry / MANIFEST, {**manifest, "files": files})
    return _artefact(entry, manifest)


def _artefact(entry: Path, manifest: dict[str, Any]) -> Artefact:
    kind = manifest["kind"]
    return Artefact(
        kind=kind, path=str(entry / _content(kind)), sha256=manifest["sha256"], recipe=dict(manifest["recipe"])
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not _is_ours(path, folder))


def _is_ours(path: Path, folder: Path) -> bool:
    return path.parent == folder and path.name.startswith((MANIFEST, f".{MANIFEST}"))


def _described(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {"sha256": file_sha256(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _is_untouched(path: Path, described: dict[str, Any]) -> bool:
    stat = path.stat()
    return bool(stat.st_size == described["size"] and stat.st_mtime_ns == described["mtime_ns"])


def _sha256(files: dict[str, dict[str, Any]], kind: str) -> str:
    single = files.get(_content(kind))
    if single is not None:
        return str(single["sha256"])
    return files_sha256({name.partition("/")[2]: described["sha256"] for name, described in files.items()})


def _write(path: Path, manifest: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(manifest, indent=1, sort_keys=True))
    temporary.replace(path)


def _cannot_write(entry: Path, error: OSError) -> InfraError:
    return InfraError(
        f"cannot make {entry}",
        got=error.strerror or str(error),
        hint="free space or fix the cache folder's permissions, or name another with --gpu-cache",
    )
