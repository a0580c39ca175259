"""A profile's run on whichever server has it, begun again elsewhere when that server is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pytest_gpuperf.errors import ConfigError, InfraError
from pytest_gpuperf.fleet.station import News
from pytest_gpuperf.records import CaseResult, Status, Verdict
from pytest_gpuperf.report import journal, results

#: How often a run that lost its server is begun again.
RESUBMISSIONS = 2
POLL_S = 0.5


class LostError(InfraError):
    """The server does not answer any more."""


class Handle(Protocol):
    """A :class:`~pytest_gpuperf.fleet.station.Station` somewhere; every method raises :class:`LostError`."""

    def poll(self, journal: int, output: int) -> News:
        """Return what is new."""

    def stop(self) -> None:
        """Give the server back."""


#: Starts a station that leaves these tests out; raises :class:`InfraError` when no server is to be had.
Launch = Callable[[Sequence[str]], Handle]


@dataclass(kw_only=True)
class Run:
    """All attempts of one profile, and what they found.

    Attributes:
        cases: as in ``results.json``, by id; the first result of a case stands, whoever else reports it later.
        tests: node ids that ended, in any attempt.
        status: pytest's exit status; ``None`` when no attempt got that far.
        output: of the last attempt.
        losses: what was lost, in words.
    """

    profile: str
    folder: Path
    head: dict[str, Any] = field(default_factory=dict)
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    tests: set[str] = field(default_factory=set)
    status: int | None = None
    output: str = ""
    losses: list[str] = field(default_factory=list)
    current: str = ""

    def take(self, path: Path) -> None:
        """Merge the cases of an attempt's journal; a test that was cut off has no result yet."""
        try:
            document = journal.resume(path)
        except ConfigError:  # it got to no case
            return
        cases = [case for case in document.pop("cases") if case["id"].partition("#")[0] != self.current]
        self.head = self.head or document
        for case in cases:
            self.cases.setdefault(case["id"], case)
            self.tests.add(case["id"].partition("#")[0])

    def give_up(self, why: str) -> None:
        """Let the case that ran, or the whole profile where none did, be ``infra``."""
        id_ = self.current or f"profile {self.profile}"
        verdict = Verdict(status=Status.INFRA, reason=why, hints=tuple(self.losses))
        lost = CaseResult(id=id_, suite="", model="", engine="", precision="", batch=0, verdict=verdict)
        (plain,) = results.document("", None, [lost])["cases"]
        self.cases.setdefault(id_, plain)

    def write(self) -> results.Results:
        """Write ``results.json`` of all attempts together, and read it back."""
        head = self.head or results.document(self.profile, None, [])
        whole = {**head, "cases": list(self.cases.values()), "is_complete": self.status in (0, 1)}
        results.write(self.folder / "results.json", whole)
        return results.read(self.folder / "results.json")


def run(
    profile: str,
    folder: Path,
    launch: Launch,
    *,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Run:
    """Run a profile to its end, begun again at most :data:`RESUBMISSIONS` times; tests that ended are not repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    this = Run(profile=profile, folder=folder)
    for attempt in range(1 + RESUBMISSIONS):
        this.current = ""
        try:
            this.status = _attempt(this, folder / f"journal-{attempt}.jsonl", launch, sleep)
        except LostError as error:
            this.losses.append(f"attempt {attempt + 1}: {error.what}" + (f" ({this.current})" if this.current else ""))
            say(f"{profile}: {this.losses[-1]}")
        except InfraError as error:
            this.losses.append(str(error))
            this.give_up(error.what)
            return this
        else:
            return this
    this.give_up(f"the server was lost {len(this.losses)} times")
    return this


def _attempt(this: Run, path: Path, launch: Launch, sleep: Callable[[float], None]) -> int:
    station = launch(sorted(this.tests))
    output = b""
    try:
        with path.open("wb") as file:
            while True:
                news = station.poll(file.tell(), len(output))
                file.write(news.journal)
                output += news.output
                this.current = news.current
                if news.status is not None:
                    station.stop()
                    return news.status
                sleep(POLL_S)
    finally:
        this.output = output.decode(errors="replace")
        this.take(path)
