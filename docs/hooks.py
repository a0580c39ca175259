"""The reference pages, made when the site is built: of the option table, the commands, the hooks and the schemas."""

from __future__ import annotations

import argparse
import inspect
import json
from importlib import import_module
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

from pytest_gpuperf import cli, hookspecs
from pytest_gpuperf.baselines import schema
from pytest_gpuperf.options import OPTIONS
from pytest_gpuperf.report import results

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {"options": options(), "commands": commands(), "hooks": hooks(), "schema": schemas()}
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def options() -> str:
    """Return the option table as a page."""
    rows = [
        f"| `{option.flag}{_cell('=' + option.metavar if option.metavar else '')}` "
        f"| `{option.variable}` | `{option.dest}` "
        f"| {_default(option.default)} | {_cell(option.help)} |"
        for option in OPTIONS
    ]
    head = "# Options\n\nThe command line wins over the environment, the environment over the ini file.\n\n"
    return (
        head
        + "\n".join(["| option | environment | ini key | default | meaning |", "|---|---|---|---|---|", *rows])
        + "\n"
    )


def commands() -> str:
    """Return the help of every command as a page."""
    parts = ["# Commands\n"]
    for name, (module, text) in cli.COMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"gpuperf {name}", description=text, formatter_class=_formatter)
        import_module(module).add_arguments(parser)
        parts.append(f"## gpuperf {name}\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(parts)


def hooks() -> str:
    """Return the hooks' own documentation as a page."""
    parts = ["# Hooks\n"]
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction):
        if name.startswith("pytest_gpuperf"):
            parts.append(
                f"## {name}\n\n```text\n{name}{inspect.signature(function)}\n\n{inspect.getdoc(function)}\n```\n"
            )
    return "\n".join(parts)


def schemas() -> str:
    """Return the JSON schemas as a page."""
    files = {"results.json": results.schema(), "baseline and pending files": schema.json_schema()}
    parts = [f"## {name}\n\n```json\n{json.dumps(content, indent=1)}\n```\n" for name, content in files.items()]
    return "\n".join(["# Results and baselines\n", *parts])


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=100)


def _default(value: object) -> str:
    return f"`{value}`" if value not in (None, (), {}, False) else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
