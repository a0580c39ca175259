"""The journal: each case is on the disk before the next one starts, so that a killed run loses what it was doing only.

JSON lines: ``{"session": …}`` first, then ``{"case": …, "seconds": …}`` as cases come, their values as in
``results.json``; ``{"end": …}`` last, where the run got that far. ``gpuperf report --resume`` makes results of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import CaseResult
from pytest_gpuperf.report import results

NAME = "journal.jsonl"


class Journal:
    """Of one session; the file is begun with the first case, so that a run of nothing keeps the last one's.

    Attributes:
        error: why it cannot be written; the run goes on without it.
    """

    def __init__(self, path: Path, session: Mapping[str, Any]) -> None:
        """Take the session as ``results.document`` has it without cases."""
        self._path = path
        self._session = session
        self._is_begun = False
        self.error = ""

    def add(self, case: CaseResult, *, seconds: float) -> None:
        """Append one case, ``seconds`` after the session's start; when this returns, it is on the disk."""
        if not self._is_begun:
            self._append({"session": self._session})
            self._is_begun = True
        (plain,) = results.document("", None, [case])["cases"]
        self._append({"case": plain, "seconds": seconds})

    def end(self, *, is_complete: bool, seconds: float) -> None:
        """Say how the session ended."""
        if self._is_begun:
            self._append({"end": {"is_complete": is_complete, "seconds": seconds}})

    def _append(self, line: Mapping[str, Any]) -> None:
        if self.error:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab" if self._is_begun else "wb") as file:
                file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self.error = f"{self._path}: {error.strerror or error}"


def resume(path: Path) -> dict[str, Any]:
    """Return what a journal holds, as ``results.write`` takes it.

    A last line that is cut off is what the run was writing when it was killed; it is left out.

    Raises:
        ConfigError: the file cannot be read, or is no journal.
    """
    try:
        *lines, _cut_off = path.read_bytes().split(b"\n")
    except OSError as error:
        hint = "give the journal of the run, which lies in its --gpu-out folder"
        raise ConfigError(f"cannot read the journal {path}", got=str(error.strerror or error), hint=hint) from error
    document: dict[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        entry = _entry(line)
        match entry:
            case {"session": dict(session)} if number == 1:
                document = {**session, "cases": [], "is_complete": False}
            case {"case": dict(case), "seconds": float(seconds)} if document:
                document["cases"].append(case)
                document["seconds"] = seconds
            case {"end": dict(end)} if document:
                document.update(end)
            case _:
                raise ConfigError(
                    f"{path} is not a journal",
                    got=f"line {number}: {line[:80]!r}",
                    hint="restore the file, or run again",
                )
    if not document:
        raise ConfigError(f"{path} is not a journal", got="no whole line", hint="run again")
    return document


def _entry(line: bytes) -> object:
    try:
        return msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
