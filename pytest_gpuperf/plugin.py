"""The pytest hooks, and nothing else: each one hands over to :mod:`pytest_gpuperf.session`.

Importing this module loads no third-party package but pytest; everything that costs time is imported when a session
that measures starts.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuperf import hookspecs, options
from pytest_gpuperf.errors import GpuPerfError
from pytest_gpuperf.fixtures import (  # noqa: F401 - pytest finds fixtures as attributes of the plugin
    SESSION,
    batched_inputs,
    engine,
    gpu,
    gpuperf,
    scaling,
    server_profile,
    serving,
    trt_engine,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_gpuperf.records import CaseResult
    from pytest_gpuperf.report.progress import Progress
    from pytest_gpuperf.session import Session
    from pytest_gpuperf.termination import Termination

MARKER = (
    "gpuperf(model=NAME): a GPU performance case; the server profile's batches for MODEL limit its `batch` parameter. "
    "Tests that use the fixture `gpuperf` get the marker by themselves."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ``--gpu-*`` options."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks for users' models."""
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Hand the whole run over to the servers of a fleet; every other run is pytest's own business."""
    if config.option.help or config.option.version:
        return None
    try:
        settings = options.resolve(config)
        if settings.fleet is None:
            return None
        from pytest_gpuperf.fleet import run

        given = config.invocation_params
        xml = getattr(config.option, "xmlpath", None)
        return run.run(
            settings,
            arguments=[str(arg) for arg in given.args],
            invocation=given.dir,
            junit=given.dir / xml if xml else None,
            say=print,
        )
    except GpuPerfError as error:
        raise pytest.UsageError(f"gpuperf: {error}") from error


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Resolve the options; bad input ends the run here, with exit status 4, before anything is measured."""
    config.addinivalue_line("markers", MARKER)
    try:
        settings = options.resolve(config)
        if not settings.is_active:
            return
        from pytest_gpuperf.session import Session
        from pytest_gpuperf.termination import Termination

        is_worker = hasattr(config, "workerinput")
        session = Session.start(settings, environ=os.environ, is_worker=is_worker, progress=_progress(config))
    except GpuPerfError as error:
        raise pytest.UsageError(f"gpuperf: {error}") from error
    config.stash[SESSION] = session
    termination = Termination()
    if not is_worker:
        termination.listen()
    config.pluginmanager.register(SessionHooks(config, session, termination), "gpuperf-session")


class SessionHooks:
    """The hooks of a session that measures; registered only then."""

    def __init__(self, config: pytest.Config, session: Session, termination: Termination) -> None:
        self.config = config
        self.session = session
        self.termination = termination

    def pytest_report_header(self) -> list[str]:
        """Say which profile and machine the numbers will belong to."""
        return self.session.header()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Mark the cases, and deselect the batches that the profile does not run."""
        kept: list[pytest.Item] = []
        deselected: list[pytest.Item] = []
        for item in items:
            if "gpuperf" in getattr(item, "fixturenames", ()) and item.get_closest_marker("gpuperf") is None:
                item.add_marker("gpuperf")
            (kept if self.session.runs_batch(*_model_and_batch(item)) else deselected).append(item)
        if deselected:
            config.hook.pytest_deselected(items=deselected)
            items[:] = kept

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tell which cases will run; what their references lack ends the run here, before anything is measured."""
        try:
            self.session.expect([item.nodeid for item in session.items if item.get_closest_marker("gpuperf")])
        except GpuPerfError as error:
            raise pytest.UsageError(f"gpuperf: {error}") from error

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the case's results to its report, which is how they reach the controller under xdist."""
        report = yield
        if call.excinfo is not None and call.excinfo.errisinstance(GpuPerfError):
            report.longrepr = str(call.excinfo.value)  # the message is complete; frames of ours would only hide it
        if call.when == "call":
            self.session.attach(report)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect results where the session's files are written, and tell who wants to know."""
        known = len(self.session.results)
        self.session.collect(report)
        for result in self.session.results[known:]:
            if (xml := _junit_xml(self.config)) is not None:
                from pytest_gpuperf.report import junit

                xml.node_reporter(report).append(junit.element(result))
            self.config.hook.pytest_gpuperf_case(config=self.config, result=result)

    def pytest_gpuperf_case(self, config: pytest.Config, result: CaseResult) -> None:
        """Show the case to pytest-benchmark, where that is active and somebody looks at it."""
        if (benchmarks := config.pluginmanager.get_plugin("pytest-benchmark")) is not None:
            from pytest_gpuperf import interop

            items = getattr(config.pluginmanager.get_plugin("session"), "items", ())
            if interop.is_looked_at(config.option, items):
                interop.export(benchmarks, result)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """The run is ending: CI systems send SIGINT first and SIGTERM some seconds later, while things are written."""
        self.termination.ignore()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Stop the workers, write results and pending baselines, settle the exit status."""
        self.termination.ignore()
        if session.config.option.collectonly:
            return
        try:
            session.exitstatus = self.session.finish(
                int(session.exitstatus), _collected(session), is_partial=_is_partial(session)
            )
        except Exception:  # noqa: BLE001 - our own bug must not look like success, nor hide what was measured
            session.config.notify_exception(pytest.ExceptionInfo.from_current(), session.config.option)
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the verdict table, when there is something to say."""
        config = terminalreporter.config
        writer = terminalreporter._tw  # noqa: SLF001 - the only way to its width and colour
        lines = self.session.summary(width=writer.fullwidth, colour=writer.hasmarkup, verbosity=config.get_verbosity())
        if lines:
            terminalreporter.section("gpuperf")
            for line in lines:
                terminalreporter.write_line(line)

    def pytest_sessionstart(self) -> None:
        """Write into pytest's XML file what holds for all its cases."""
        if (xml := _junit_xml(self.config)) is not None:
            for name, value in self.session.facts():
                xml.add_global_property(name, value)

    def pytest_unconfigure(self) -> None:
        """Leave no child behind, whatever happened."""
        self.session.stop()
        self.termination.restore()


def _junit_xml(config: pytest.Config) -> Any:
    """Return what writes ``--junit-xml``, if somebody asked for it; pytest has no public way to a case's text there."""
    from _pytest.junitxml import xml_key

    return config.stash.get(xml_key, None)


def _progress(config: pytest.Config) -> Progress:
    """Return progress that reaches the terminal although pytest captures; xdist's workers have no terminal."""
    from pytest_gpuperf.report.progress import Progress

    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or config.get_verbosity() < 0:
        return Progress(len, live=False)
    is_live = bool(reporter.isatty)

    def write(text: str) -> None:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            if not is_live:
                reporter.ensure_newline()
            reporter.write(text, flush=True)

    return Progress(write, live=is_live, width=config.get_terminal_writer().fullwidth)


def _model_and_batch(item: pytest.Item) -> tuple[str | None, int | None]:
    marker = item.get_closest_marker("gpuperf")
    callspec = getattr(item, "callspec", None)
    batch = callspec.params.get("batch") if callspec is not None else None
    if marker is None or not isinstance(batch, int):
        return None, None
    return marker.kwargs.get("model"), batch


def _collected(session: pytest.Session) -> list[str]:
    return [item.nodeid for item in getattr(session, "items", [])]


def _is_partial(session: pytest.Session) -> bool:
    """Whether cases may be missing for a reason that is not their removal (-k, -m, --lf, a path, a crash)."""
    option = session.config.option
    chosen = [option.keyword, option.markexpr, getattr(option, "lf", False), getattr(option, "deselect", None)]
    return bool(any(chosen) or session.shouldstop or session.shouldfail)
