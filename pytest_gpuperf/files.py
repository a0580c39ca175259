"""Files that survive a crash: whole writes, one writer at a time, nothing left behind.

A write goes to a temporary file in the same folder, is flushed to the disk, and then takes the target's name in one
step: whoever reads sees the old file or the new one. What a killed writer leaves behind is swept later.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_gpuperf.errors import InfraError

POLL_S = 0.01
_SUFFIX = ".tmp"
# A stray of another host cannot be asked whether its writer lives; no write takes this long.
_FOREIGN_STRAY_S = 3600.0


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, creating its folder.

    Raises:
        InfraError: no space, no permission, … The old file is then untouched.
    """
    stray = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}{_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with stray.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(stray, path)  # noqa: PTH105 - the name that the standard promises to be atomic
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):
                stray.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(path, len(content), error) from error


def sweep(folder: Path) -> tuple[Path, ...]:
    """Remove the temporary files in ``folder`` whose writer is gone, and return them."""
    strays = tuple(path for path in sorted(folder.glob(f".*{_SUFFIX}")) if _is_stray(path))
    for path in strays:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return strays


@contextmanager
def lock(path: Path, *, timeout_s: float = 60.0) -> Iterator[None]:
    """Be the only writer of ``path``: hold ``.NAME.lock`` beside it.

    The kernel frees the lock when its holder dies. The lock file stays, since removing it would let a third process
    lock another file of the same name.

    Raises:
        InfraError: the folder cannot be written, or another process held the lock for ``timeout_s``; the message names
            its process id and host.
    """
    name = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _cannot_write(path, 0, error) from error
    try:
        _acquire(handle, path, timeout_s)
        with suppress(OSError):  # a full disk must not keep the lock from working, only from being named
            holder = f"process {os.getpid()} on {socket.gethostname()}".encode()
            os.pwrite(handle, holder, 0)
            os.truncate(handle, len(holder))
        yield
    finally:
        os.close(handle)
        time.sleep(1.5 * POLL_S)  # whoever waits looks before this process can come back


def _acquire(handle: int, path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(POLL_S)
                continue
            holder = os.pread(handle, 200, 0).decode(errors="replace") or "an unknown process"
            raise InfraError(
                f"{path} is locked by another writer",
                got=f"held by {holder} for more than {timeout_s:g} s",
                hint="wait for it to end, or end it if it hangs, and run the same command again",
            ) from None
        return


def _cannot_write(path: Path, size: int, error: OSError) -> InfraError:
    needs = f"; {size} bytes are needed" if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} else ""
    return InfraError(
        f"cannot write {path}",
        got=f"{error.strerror}{needs}",
        hint="free space or fix the folder's permissions; the old file, if any, is untouched",
    )


def _host() -> str:
    return "".join(c if c.isalnum() or c == "-" else "-" for c in socket.gethostname())


def _is_stray(path: Path) -> bool:
    try:
        *_, host, process, _token, _tmp = path.name.rsplit(".", 4)
        if host != _host():
            return time.time() - path.stat().st_mtime > _FOREIGN_STRAY_S
        os.kill(int(process), 0)
    except (ValueError, PermissionError, FileNotFoundError):
        return False
    except ProcessLookupError:
        return True
    return False


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
