"""GitHub Actions: annotations in the log, and the page of the job's summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pytest_gpuperf.report import markdown
from pytest_gpuperf.report.annotations import lines
from pytest_gpuperf.report.results import Results


def is_here(environ: Mapping[str, str]) -> bool:
    """Whether this is a GitHub Actions job."""
    return environ.get("GITHUB_ACTIONS") == "true"


def publish(results: Sequence[Results], *, environ: Mapping[str, str], write_line: Callable[[str], object]) -> None:
    """Publish results where a GitHub Actions job shows them; elsewhere do nothing.

    Args:
        results: of this job.
        environ: where ``GITHUB_ACTIONS`` and ``GITHUB_STEP_SUMMARY`` are looked up.
        write_line: prints one line to the job's log.

    Raises:
        OSError: the summary cannot be written.
    """
    if not is_here(environ):
        return
    for line in lines([case for result in results for case in result.cases]):
        write_line(line)
    if path := environ.get("GITHUB_STEP_SUMMARY"):
        _append(Path(path), results)


def _append(path: Path, results: Sequence[Results]) -> None:
    """Add to what other tools wrote in this step, within what the step may hold."""
    held = path.stat().st_size if path.exists() else 0
    room = markdown.SUMMARY_BYTES - held
    if room > markdown.SMALLEST_BYTES:
        with path.open("a", encoding="utf-8") as file:
            file.write(markdown.document(results, limit_bytes=room))
