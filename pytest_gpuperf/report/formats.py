"""Every file format by its name: what the files are called, and which module writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pytest_gpuperf import files
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.report.merge import Table
from pytest_gpuperf.report.results import Results

Writer = Callable[[Sequence[Results], Sequence[Table]], dict[str, str]]


def _html(results: Sequence[Results], tables: Sequence[Table]) -> dict[str, str]:
    from pytest_gpuperf.report import html

    return {"report.html": html.document(results, tables)}


def _markdown(results: Sequence[Results], tables: Sequence[Table]) -> dict[str, str]:
    from pytest_gpuperf.report import markdown

    return {"report.md": markdown.document(results, tables)}


def _comment(results: Sequence[Results], tables: Sequence[Table]) -> dict[str, str]:
    from pytest_gpuperf.report import markdown

    return {"comment.md": markdown.document(results, tables, limit_bytes=markdown.COMMENT_BYTES)}


def _csv(results: Sequence[Results], _: Sequence[Table]) -> dict[str, str]:
    from pytest_gpuperf.report import csv

    return {"results.csv": csv.document(results)}


def _gitlab(results: Sequence[Results], _: Sequence[Table]) -> dict[str, str]:
    from pytest_gpuperf.report import gitlab, prometheus

    return {"gl-code-quality-report.json": gitlab.code_quality(results), "metrics.txt": prometheus.document(results)}


def _prometheus(results: Sequence[Results], _: Sequence[Table]) -> dict[str, str]:
    from pytest_gpuperf.report import prometheus

    return {"metrics.prom": prometheus.document(results)}


def _annotations(results: Sequence[Results], _: Sequence[Table]) -> dict[str, str]:
    from pytest_gpuperf.report import annotations

    return {"annotations.txt": annotations.document([case for result in results for case in result.cases])}


def _junit(results: Sequence[Results], _: Sequence[Table]) -> dict[str, str]:
    from pytest_gpuperf.report import junit

    return {"junit.xml": junit.document(results)}


FORMATS: Mapping[str, Writer] = MappingProxyType(
    {
        "html": _html,
        "markdown": _markdown,
        "comment": _comment,
        "csv": _csv,
        "gitlab": _gitlab,
        "prometheus": _prometheus,
        "annotations": _annotations,
        "junit": _junit,
    }
)
"""Name → writer; a writer returns file name → text."""


def check(names: Sequence[str]) -> None:
    """Refuse names that are no format.

    Raises:
        ConfigError: names the unknown one and lists the known.
    """
    for name in names:
        if name not in FORMATS:
            raise ConfigError("unknown report format", got=repr(name), expected=f"one of {', '.join(FORMATS)}")


def render(names: Sequence[str], results: Sequence[Results], tables: Sequence[Table] = ()) -> dict[str, str]:
    """Return file name → text for all formats.

    Raises:
        ConfigError: as for :func:`check`.
    """
    check(names)
    return {file: text for name in names for file, text in FORMATS[name](results, tables).items()}


def write(folder: Path, rendered: Mapping[str, str]) -> list[Path]:
    """Write rendered files into a folder, each atomically, and return their paths.

    Raises:
        InfraError: a file cannot be written.
    """
    paths = []
    for file, text in rendered.items():
        paths.append(folder / file)
        files.write_bytes(paths[-1], text.encode("utf-8", "backslashreplace"))
    return paths
