"""The files: where they are, which are refused unread, and how they change without losing anything."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from pytest_gpuperf import files
from pytest_gpuperf.baselines import scan, schema
from pytest_gpuperf.baselines.schema import Pending, Result, Suite
from pytest_gpuperf.errors import BaselineError
from pytest_gpuperf.records import BaselineEntry

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def baseline_path(root: Path, profile: str, suite: str) -> Path:
    """Return ``root/PROFILE/SUITE.json``.

    Raises:
        BaselineError: a name is not fit for a file name.
    """
    for name in (profile, suite):
        if not _NAME.fullmatch(name) or ".." in name:
            raise BaselineError(
                "not a name that a baseline file can have",
                got=repr(name[:120]),
                expected="up to 100 letters, digits, '-', '_' and '.'",
            )
    return root / profile / f"{suite}.json"


def pending_path(out: Path, profile: str, suite: str) -> Path:
    """Return ``out/pending/PROFILE/SUITE.json``; errors as for :func:`baseline_path`."""
    return baseline_path(out / "pending", profile, suite)


def slug(text: str) -> str:
    """Return a name for ``text`` that :func:`baseline_path` accepts; different texts get different names."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._").replace("..", "-") or "suite"
    if name == text and len(name) <= 80:  # noqa: PLR2004 - leaves room for the digest
        return name
    return f"{name[:80]}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def read(path: Path) -> Suite:
    """Read a baseline file; one that does not exist has no entries.

    Raises:
        BaselineError: the file cannot be trusted.
    """
    content = _content(path)
    if content is None:
        return Suite(profile=path.parent.name, suite=path.stem)
    suite = schema.decode(str(path), content)
    _check_place(path, suite.profile, suite.suite)
    return suite


def read_pending(path: Path) -> Pending:
    """Read a pending file; as :func:`read`."""
    content = _content(path)
    if content is None:
        return Pending(profile=path.parent.name, suite=path.stem)
    pending = schema.decode_pending(str(path), content)
    _check_place(path, pending.profile, pending.suite)
    return pending


def update(path: Path, entries: Mapping[str, BaselineEntry], *, remove: Collection[str] = ()) -> Suite:
    """Set ``entries`` in the baseline file, drop ``remove``, leave all others as they are at this moment.

    Raises:
        BaselineError: the file cannot be trusted, or a new case id cannot be accepted.
        InfraError: the file cannot be written or locked; it is then unchanged.
    """
    new = Suite(profile=path.parent.name, suite=path.stem, entries=dict(entries))
    schema.decode(str(path), schema.encode(new))  # never write what could not be read back
    with files.lock(path):
        files.sweep(path.parent)
        old = read(path)
        kept = {case_id: entry for case_id, entry in old.entries.items() if case_id not in remove}
        suite = Suite(profile=old.profile, suite=old.suite, entries={**kept, **entries})
        _write(path, schema.encode(suite), is_empty=not suite.entries)
    return suite


def update_pending(
    path: Path,
    entries: Mapping[str, BaselineEntry],
    results: Mapping[str, Result],
    *,
    remove: Collection[str] = (),
) -> Pending:
    """Set pending entries with their results; as :func:`update`. A file without entries is removed."""
    new = Pending(profile=path.parent.name, suite=path.stem, entries=dict(entries), results=dict(results))
    schema.decode_pending(str(path), schema.encode_pending(new))
    with files.lock(path):
        files.sweep(path.parent)
        old = read_pending(path)
        kept = {case_id: entry for case_id, entry in old.entries.items() if case_id not in remove}
        pending = Pending(
            profile=old.profile,
            suite=old.suite,
            entries={**kept, **entries},
            results={**{case_id: old.results[case_id] for case_id in kept}, **results},
        )
        _write(path, schema.encode_pending(pending), is_empty=not pending.entries)
    return pending


def _write(path: Path, content: bytes, *, is_empty: bool) -> None:
    scan.check_size(str(path), len(content))
    if is_empty:
        path.unlink(missing_ok=True)
    elif not path.exists() or path.read_bytes() != content:
        files.write_bytes(path, content)


def _content(path: Path) -> bytes | None:
    """Read the file, unless it is none, is too large, or is reached over a symbolic link."""
    for place in (path, *path.parents[:2]):
        if place.is_symlink():
            raise BaselineError(
                f"{place} is a symbolic link",
                expected="a file inside the repository",
                hint="replace it by what it points to",
            )
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BaselineError(f"{path} is not a regular file")
            scan.check_size(str(path), status.st_size)
            return file.read(scan.MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BaselineError(
            f"cannot read {path}", got=error.strerror or errno.errorcode.get(error.errno or 0)
        ) from error


def _check_place(path: Path, profile: str, suite: str) -> None:
    if (profile, suite) != (path.parent.name, path.stem):
        raise BaselineError(
            f"{path}: the file says that it belongs elsewhere",
            got=f"profile {profile!r}, suite {suite!r}",
            expected=f"profile {path.parent.name!r}, suite {path.stem!r}",
            hint="move it back; to rename a case use: gpuperf baseline mv",
        )
