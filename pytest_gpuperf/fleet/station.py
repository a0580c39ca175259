"""The actor on a server: one pytest process, its journal and its output as they grow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: For pytest to end its workers and write what it has.
STOP_S = 10.0


@dataclass(frozen=True, kw_only=True)
class News:
    """What a server had to tell since it was last asked.

    Attributes:
        journal, output: bytes from the given offsets on.
        current: node id of the test that runs; empty between tests.
        status: pytest's exit status, ``None`` while it runs.
    """

    journal: bytes
    output: bytes
    current: str
    status: int | None


class Station:
    """Runs pytest in the folder that Ray has unpacked; the same plugin, workers and checks as on one machine."""

    def __init__(self, arguments: Sequence[str], folder: str) -> None:
        """Start pytest in ``folder`` of a copy of the working directory.

        Ray removes a working directory when a node that shares its folder is lost, whoever else still runs in it.
        Converted models outlive the run, in the server's own cache, under keys made of their content.
        """
        self._out = Path(tempfile.mkdtemp(prefix="gpuperf-"))
        tree = shutil.copytree(Path.cwd(), self._out / "tree", symlinks=True)
        cache = Path.home() / ".cache" / "pytest-gpuperf"
        command = [sys.executable, "-m", "pytest_gpuperf.fleet", *arguments]
        command += [f"--gpu-out={self._out}", f"--gpu-cache={cache}"]
        with (self._out / "output").open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own pytest arguments
                command,
                cwd=tree / folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "GPUPERF_CURRENT": str(self._out / "current")},
            )

    def ready(self) -> str:
        """Return where this is, once it is anywhere."""
        return os.uname().nodename

    def poll(self, journal: int, output: int) -> News:
        """Return what is new beyond these offsets."""
        status = self._process.poll()  # first: what a process wrote before it ended is complete after it
        return News(
            journal=_read(self._out / "journal.jsonl", journal),
            output=_read(self._out / "output", output),
            current=_read(self._out / "current", 0).decode(),
            status=status,
        )

    def stop(self) -> None:
        """End pytest, which ends its workers, and remove what it left here."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._out, ignore_errors=True)


def _read(path: Path, offset: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()
