"""One pytest session: what it measures with, what it has found, and what it writes at the end."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gpuperf import (
    approval,
    attribution,
    cargo,
    case,
    files,
    hardware,
    health,
    history,
    host,
    orphans,
    profiles,
    roofline,
    selfcheck,
    service,
)
from pytest_gpuperf.approval import Plan
from pytest_gpuperf.errors import GpuPerfError
from pytest_gpuperf.orphans import Orphans
from pytest_gpuperf.records import CaseResult, Status
from pytest_gpuperf.report import closing, failure, formats, github, junit, results, terminal
from pytest_gpuperf.report.journal import NAME, Journal
from pytest_gpuperf.rig import Rig

if TYPE_CHECKING:
    import pytest

    from pytest_gpuperf.case import Case
    from pytest_gpuperf.host import Host
    from pytest_gpuperf.options import Settings
    from pytest_gpuperf.profiles import ServerProfile
    from pytest_gpuperf.report.progress import Progress
    from pytest_gpuperf.scaling import Device, ScalingBudget
    from pytest_gpuperf.service import Service


def actions(settings: Settings, *, is_ci: bool) -> dict[Status, str]:
    """Return what a verdict does to its test: ``pass`` or ``warn``; everything that is not named fails."""
    usual = {Status.PASSED: "pass", Status.IMPROVED: "pass", Status.NEW: "fail" if is_ci else "warn"}
    return {**usual, **settings.policy}


class Session:
    """Made once per pytest process by :meth:`start`; the controller collects and writes, xdist's workers measure."""

    def __init__(
        self, settings: Settings, profile: ServerProfile, why: str, rig: Rig, *, is_worker: bool, is_ci: bool
    ) -> None:
        self.settings = settings
        self.profile = profile
        self.machine = rig.machine
        self.results: list[CaseResult] = []
        self._why = why
        self._rig = rig
        self._is_worker = is_worker
        self._actions = actions(settings, is_ci=is_ci)
        # Who names a profile in CI wants to measure; an ini file speaks to runs of other tests too.
        is_asked = settings.source["require"] == "default" and not settings.source["profile"].startswith("ini")
        self._require = max(settings.require, int(is_ci and is_asked))
        self._missing: list[str] = []
        self._fresh: list[CaseResult] = []
        self._plan = Plan()
        self._reports: list[Path] = []
        self._report_error = ""
        self._past = history.read_all(settings.baselines / profile.name)
        self._orphans = Orphans()
        self._failed: set[str] = set()
        self.cases = 1
        self._started, self._began_s = datetime.now(timezone.utc), time.monotonic()
        self._journal = Journal(settings.out / NAME, self._document([], is_complete=False))

    @classmethod
    def start(cls, settings: Settings, *, environ: Mapping[str, str], is_worker: bool, progress: Progress) -> Session:
        """Load the profile and match it with the machine, before anything is measured.

        Raises:
            BaselineError: a baseline, or the history of one, cannot be trusted.
            ConfigError: unknown or malformed profile, another machine than the profile's, or an update asked for in CI.
            InfraError: the driver or a GPU does not answer.
        """
        formats.check(settings.report)
        machine = hardware.probe()
        if settings.profile in (None, "auto"):
            profile, why = profiles.auto(machine)
        else:
            profile, why = profiles.load(str(settings.profile)), f"from the {settings.source['profile']}"
        hardware.match(profile, machine, environ=environ)
        approval.check_update(settings.update, is_allowed_in_ci=settings.update_in_ci, environ=environ)
        if not is_worker:
            for folder in (settings.baselines / profile.name, settings.out, settings.out / "pending" / profile.name):
                files.sweep(folder)  # what killed writers left where this session will read and write
        rig = Rig.build(settings, profile, machine, progress)
        try:
            is_ci = approval.ci_variable(environ) is not None
            return cls(settings, profile, why, rig, is_worker=is_worker, is_ci=is_ci)
        except BaseException:
            rig.stop()
            raise

    def header(self) -> list[str]:
        """Return the header's lines: whose numbers these will be."""
        lines = terminal.header(
            profile=self.profile.name,
            why=self._why,
            machine=", ".join(self._rig.fingerprint.hardware.values()),
            software=self._rig.fingerprint.software,
            certificate=selfcheck.cite(selfcheck.PATH, self._rig.fingerprint),
        )
        if self._rig.opponent is not None:
            lines.append(f"gpuperf: live reference: {self._rig.opponent.name}")
        return lines + [f"gpuperf: {problem}" for problem in (*self._rig.problems, *health.environment(os.environ))]

    def facts(self) -> list[tuple[str, str]]:
        """Return what holds for all cases, as name and value."""
        return junit.facts(self.profile.name, self._rig.fingerprint)

    def expect(self, ids: Sequence[str]) -> None:
        """Take note of the tests that will run, and that each one's live reference is there.

        Raises:
            ConfigError: the artefact that a baseline names cannot be had. Workers of xdist leave that to each case.
        """
        self.cases = max(1, len(ids))
        if not self._is_worker and not self.settings.off:
            self._rig.check_references(ids)

    def runs_batch(self, model: str | None, batch: int | None) -> bool:
        """Whether the profile and ``--gpu-batches`` let this batch run."""
        if model is None or batch is None:
            return True
        wanted = self.settings.batches
        return batch in self.profile.batches_for(model) and (not wanted or batch in wanted)

    def devices(self, budget: ScalingBudget) -> tuple[Device, ...]:
        """Return the devices that a host's case would run on.

        Raises:
            ConfigError: the budget names more than there are.
        """
        return host.devices(self._rig, budget)

    def check(self, item: pytest.Item, this: Case) -> str | None:
        """Run one case; return the text that fails its test, or ``None``. The result waits for :meth:`attach`."""
        run = attribution.run if self.settings.layers else case.run
        return self.record(item, lambda: run(this, self._rig), lambda: case.run_once(this, self._rig))

    def serve(self, item: pytest.Item, this: Service) -> str | None:
        """Run one served model; otherwise as :meth:`check`."""
        return self.record(item, lambda: service.run(this, self._rig), lambda: service.run_once(this, self._rig))

    def scale(self, item: pytest.Item, this: Host) -> str | None:
        """Run one engine on all devices of the host; otherwise as :meth:`check`."""
        return self.record(item, lambda: host.run(this, self._rig), lambda: host.run_once(this, self._rig))

    def record(self, item: pytest.Item, run: Callable[[], CaseResult], run_once: Callable[[], None]) -> str | None:
        """Run, and keep the result for the report; return the text that fails the test, or ``None``."""
        if self.settings.off:
            run_once()
            return None
        try:
            result = run()
        finally:
            self._rig.progress.clear()
        self._fresh.append(result)
        if junit.has_properties(item.config):
            item.user_properties.extend(junit.properties(result))
        if self._actions.get(result.verdict.status, "fail") != "fail":
            return None
        return "\n".join(failure.lines(result.verdict, result.id, self.profile.name))

    def attach(self, report: pytest.TestReport) -> None:
        """Move the results of the test that just ran onto its report."""
        if self._fresh:
            cargo.load(report, self._fresh)
            self._fresh = []

    def collect(self, report: pytest.TestReport) -> None:
        """Take the results off a report, in the process that writes the files."""
        if report.failed:
            self._failed.add(report.nodeid)
        if self._is_worker:
            return
        for result in cargo.unload(report):
            self.results.append(result)
            self._journal.add(result, seconds=self._seconds())

    def finish(self, status: int, collected: list[str], *, is_partial: bool) -> int:
        """Write results, pending baselines and reports; return the exit status."""
        self.stop()
        if self._is_worker or self.settings.off:
            return status
        if self.results:
            self._examine(collected, is_partial=is_partial or bool(self.settings.batches))
            is_complete = status in (0, 1)
            self._journal.end(is_complete=is_complete, seconds=self._seconds())
            results.write(self.settings.out / "results.json", self._document(self.results, is_complete=is_complete))
            self._propose()
            self._report()
        return self._exit_status(status)

    def summary(self, *, width: int, colour: bool, verbosity: int) -> list[str]:
        """Return the closing section; empty when there is nothing to say."""
        if not self.results:
            return self._missing
        lines = terminal.table(self.results, width=width, colour=colour, verbosity=verbosity)
        where = str(self.settings.out / "results.json")
        return [*lines, *self._notes(), terminal.summary(self.results, seconds=self._seconds(), results=where)]

    def stop(self) -> None:
        """End the measuring processes; stopping twice is harmless."""
        self._rig.stop()

    def _examine(self, collected: list[str], *, is_partial: bool) -> None:
        """Set the results beside the server's peaks, their own past, and the baselines that have no test any more."""
        approved, root = self._rig.approved, self.settings.root
        examined = roofline.examine(self.results, self.profile, approved)
        self.results = history.trace(examined, self._past, self.profile.tolerance)
        self._orphans = orphans.find(approved, self.results, collected, root=root, is_partial=is_partial)

    def _report(self) -> None:
        """Write the reports that were asked for; one that cannot be written changes no verdict."""
        if not self.settings.report and not github.is_here(os.environ):
            return
        try:
            written = [results.read(self.settings.out / "results.json")]
            self._reports = formats.write(self.settings.out, formats.render(self.settings.report, written))
            github.publish(written, environ=os.environ, write_line=print)
        except (GpuPerfError, OSError) as error:
            self._report_error = str(error)

    def _propose(self) -> None:
        is_slowed = bool(health.environment(os.environ))  # the header has said so: these numbers are no baseline
        self._plan, _ = approval.propose(
            self.results,
            self._rig.approved,
            "none" if is_slowed else self.settings.update,
            out=self.settings.out,
            profile=self.profile.name,
            commit=approval.git(self.settings.root, "rev-parse", "HEAD"),
            renamed=self._orphans.renamed,
        )

    def _seconds(self) -> float:
        """Return how long the session has been running."""
        return time.monotonic() - self._began_s

    def _document(self, cases: Sequence[CaseResult], *, is_complete: bool) -> dict[str, object]:
        return results.document(
            self.profile.name,
            self._rig.fingerprint,
            cases,
            started=self._started.isoformat(timespec="seconds"),
            seconds=self._seconds(),
            is_complete=is_complete,
            command=shlex.join(["pytest", *sys.argv[1:]]),
        )

    def _notes(self) -> list[str]:
        """Return what a reader should know or do: cases that pass with a warning, pending and unused baselines."""
        notes = [*terminal.remarks(self.results), *terminal.references(self.results), *self._missing]
        notes += closing.warnings(self.results, self._actions)
        notes += closing.pending(
            len(self._plan.write), self._plan.skip, update=self.settings.update, processes=self.settings.processes
        )
        notes += [f"report: {path}" for path in self._reports]
        notes += [f"there is no journal of this run: {self._journal.error}"] if self._journal.error else []
        notes += [f"a report could not be written: {self._report_error}"] if self._report_error else []
        notes += self._orphans.notes()
        return notes

    def _exit_status(self, status: int) -> int:
        """Settle ``--gpu-require`` and ``--gpu-infra-exit``; every other status stays pytest's own."""
        measured = sum(result.measured is not None for result in self.results)
        if status in (0, 5) and measured < self._require:
            self._missing = [f"{measured} cases were measured, and --gpu-require wants {self._require}: the run fails"]
            return 1
        infra = {result.id.partition("#")[0] for result in self.results if result.verdict.status is Status.INFRA}
        if status == 1 and self.settings.infra_exit and self._failed and self._failed <= infra:
            return self.settings.infra_exit
        return status
