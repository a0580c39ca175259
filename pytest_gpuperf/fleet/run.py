"""``pytest --gpu-fleet``: every profile on a server that has it, one report of them all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gpuperf import approval, files, profiles, session
from pytest_gpuperf.errors import ConfigError, InfraError
from pytest_gpuperf.fleet import connection, schedule
from pytest_gpuperf.fleet.schedule import LostError, Run
from pytest_gpuperf.fleet.station import News, Station
from pytest_gpuperf.records import Status
from pytest_gpuperf.report import formats, terminal

if TYPE_CHECKING:
    from pytest_gpuperf.options import Settings

#: How long a run waits for a server of its profile; one that was lost may come back within it.
PLACE_S = 120.0
POLL_DEADLINE_S = 30.0


class Remote:
    """A station on the cluster; a lost server becomes :class:`LostError`."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    def poll(self, journal: int, output: int) -> News:
        """Return what is new; a server that does not answer is lost."""
        try:
            news: News = self._ray.get(self._actor.poll.remote(journal, output), timeout=POLL_DEADLINE_S)
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            self.stop()
            raise LostError("the server was lost", got=type(error).__name__) from error
        return news

    def stop(self) -> None:
        """End what runs there, then the actor; a lost one takes what it ran with it."""
        with suppress(Exception):  # it is gone already
            self._ray.get(self._actor.stop.remote(), timeout=POLL_DEADLINE_S)
        with suppress(Exception):
            self._ray.kill(self._actor)


def run(
    settings: Settings,
    *,
    arguments: Sequence[str],
    invocation: Path,
    say: Callable[[str], None],
    junit: Path | None = None,
) -> int:
    """Run all profiles at once, report them together, and return the exit status.

    Args:
        settings: of this session.
        arguments: pytest's, for the servers too.
        invocation: folder that pytest was started in, within the root.
        say: prints a line.
        junit: where the JUnit file of all profiles goes; the servers write none.

    Raises:
        ConfigError: no profile, an unknown one, or a cluster that must not be used.
        InfraError: the cluster does not answer.
    """
    formats.check(settings.report)
    wanted = [part.strip() for part in (settings.profile or "").split(",") if part.strip()]
    if not wanted or "auto" in wanted:
        raise ConfigError(
            "a fleet's profiles are named", got=repr(settings.profile), expected="--gpu-profile=NAME,NAME,…"
        )
    if settings.update != "none":
        raise ConfigError(
            "a fleet measures against baselines, it writes none",
            got=f"--gpu-update={settings.update}",
            hint="update on a server of the profile itself: pending baselines would stay there",
        )
    names = {profiles.load(text).name: text for text in wanted}
    ray = connection.connect(str(settings.fleet), folder=settings.root, is_trusted=settings.trust)
    try:
        folder = str(invocation.relative_to(settings.root))

        def one(name: str) -> Run:
            def launch(done: Sequence[str]) -> Remote:
                mine = [*arguments, *(f"--deselect={test}" for test in done)]
                mine += ["--gpu-fleet=none", f"--gpu-profile={names[name]}", "--gpu-report="]
                mine += ["--junitxml="] if junit else []
                return _place(ray, name, mine, folder)

            return schedule.run(name, settings.out / name, launch, say=say)

        with ThreadPoolExecutor(len(names)) as pool:
            runs = list(pool.map(one, names))
    finally:
        ray.shutdown()
    return report(runs, settings, say=say, junit=junit)


def report(runs: Sequence[Run], settings: Settings, *, say: Callable[[str], None], junit: Path | None = None) -> int:
    """Write every profile's results and the reports of all; tell each profile's verdict; return the worst status."""
    written = [run.write() for run in runs]
    harmless = session.actions(settings, is_ci=approval.ci_variable(os.environ) is not None)
    for run, found in zip(runs, written, strict=True):
        if run.status != 0:
            say(run.output)
        # What failed before its server was lost is not run again, so the last attempt's status does not know of it.
        elif run.status == 0 and any(harmless.get(case.verdict.status, "fail") == "fail" for case in found.cases):
            run.status = 1
        for line in (f"profile {run.profile}", *terminal.table(found.cases, width=120, colour=False)):
            say(line)
        say(f"{run.profile}: {_verdict(run)} ({len(found.cases)} cases, {settings.out / run.profile / 'results.json'})")
    for path in formats.write(settings.out, formats.render(settings.report, written)):
        say(f"report: {path}")
    if junit is not None:
        (text,) = formats.render(("junit",), written).values()
        files.write_bytes(junit, text.encode("utf-8", "backslashreplace"))
    statuses = [1 if run.status is None else run.status for run in runs]
    failed = [case for found in written for case in found.cases if case.verdict.status is Status.INFRA]
    if settings.infra_exit and failed and all(run.status in (0, None) for run in runs):
        return settings.infra_exit
    return max(statuses)


def _verdict(run: Run) -> str:
    if run.status is None:
        return "infra"
    return {0: "passed", 1: "failed"}.get(run.status, f"pytest ended with status {run.status}")


def _place(ray: Any, profile: str, arguments: Sequence[str], folder: str) -> Remote:
    """Start a station on a server of the profile.

    Raises:
        InfraError: none has come up in time.
    """
    needs = connection.resources(profile, ray.cluster_resources())
    gpus = needs.pop("GPU", 0)
    actor = ray.remote(Station).options(resources=needs, num_cpus=0, num_gpus=gpus).remote(list(arguments), folder)
    started = time.monotonic()
    try:
        ray.get(actor.ready.remote(), timeout=PLACE_S)
    except ray.exceptions.GetTimeoutError as error:
        ray.kill(actor)
        raise InfraError(
            f"no server of the profile {profile} is to be had",
            got=f"none within {time.monotonic() - started:.0f} s",
            expected=f"a node with the resource {', '.join(needs)}",
            hint=f"""ray start --address=… --resources='{{"gpuperf:{profile}": 1}}'""",
        ) from error
    except ray.exceptions.RayError as error:
        raise LostError("the server was lost while the run began", got=type(error).__name__) from error
    return Remote(ray, actor)
