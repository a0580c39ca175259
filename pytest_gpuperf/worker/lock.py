"""One lock per device and machine, so that two pytest processes never measure on the same device at once."""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_gpuperf.errors import InfraError

#: Shared by all users of the machine: the device is.
FOLDER = Path(tempfile.gettempdir()) / "pytest-gpuperf-locks"
_ASK_EVERY_S = 0.05


@contextmanager
def hold(
    device: str, *, timeout_s: float, folder: Path | None = None, progress: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the device's lock; the kernel frees it when the holder dies, whatever way.

    Args:
        device: GPU UUID, or ``cpu``.
        timeout_s: how long to wait for another holder.
        folder: of the lock files; default :data:`FOLDER`.
        progress: told once, when there is something to wait for.

    Raises:
        InfraError: the device was not free in time; the message names who holds it since when.
    """
    path = _path(folder or FOLDER, device)
    lock = FileLock(path, mode=0o666)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if progress is not None:
                progress(f"waiting for {device}: {_holder(path)}")
            lock.acquire(timeout=timeout_s, poll_interval=_ASK_EVERY_S)
    except Timeout:
        raise InfraError(
            f"another process measures on {device}",
            got=_holder(path),
            expected=f"the device to be free within {timeout_s:g} s",
            hint="wait for it, or run one job per device",
        ) from None
    except OSError as error:
        raise InfraError(
            f"the lock of {device} cannot be taken", got=str(error), expected=f"to write {path}"
        ) from error
    try:
        _sign(path, device)
        yield
    finally:
        with suppress(OSError):
            _note(path).unlink()
        lock.release()


def _path(folder: Path, device: str) -> Path:
    if not folder.exists():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o1777)  # as /tmp itself: everybody may lock, nobody may remove another's file
    return folder / (re.sub(r"[^A-Za-z0-9-]", "_", device) + ".lock")


def _note(path: Path) -> Path:
    return path.with_suffix(".holder.json")


def _sign(path: Path, device: str) -> None:
    """Write who holds the lock beside it; for people only, so failing to is harmless."""
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    text = json.dumps({"device": device, "pid": os.getpid(), "host": socket.gethostname(), "since": since})
    temporary = path.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}.tmp")
    with suppress(OSError):
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(_note(path))


def _holder(path: Path) -> str:
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        return f"pid {note['pid']} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has not signed"
