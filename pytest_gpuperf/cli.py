"""The command ``gpuperf``: one subcommand per file of :mod:`pytest_gpuperf.commands`.

Exit status: 0 done, 1 the answer is no, 2 the command line is wrong, 4 the input or the machine is at fault.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import MappingProxyType

from pytest_gpuperf import __version__
from pytest_gpuperf.errors import GpuPerfError

COMMANDS = MappingProxyType(
    {
        "review": ("pytest_gpuperf.commands.review", "look at pending baselines one by one; accept or reject each"),
        "accept": ("pytest_gpuperf.commands.accept", "accept pending baselines without questions"),
        "baseline": ("pytest_gpuperf.commands.baseline", "list, rename or remove approved baselines"),
        "merge": ("pytest_gpuperf.commands.merge", "join a baseline file that git could not merge"),
        "report": ("pytest_gpuperf.commands.report", "make reports of results files: HTML, Markdown, JUnit and others"),
        "import-benchmark": (
            "pytest_gpuperf.commands.import_benchmark",
            "make pending baselines of pytest-benchmark's",
        ),
        "explain": ("pytest_gpuperf.commands.explain", "find the layers that make a case slower, or slow at all"),
        "doctor": ("pytest_gpuperf.commands.doctor", "check whether this machine and its packages are fit to measure"),
        "profiles": ("pytest_gpuperf.commands.profiles", "list or explain server profiles; write one for this machine"),
        "bundle": ("pytest_gpuperf.commands.bundle", "collect graphs, inputs and reference outputs for another host"),
        "cache": ("pytest_gpuperf.commands.cache", "list, prune or clear converted models and built engines"),
        "selfcheck": ("pytest_gpuperf.commands.selfcheck", "measure how often verdicts are wrong on this machine"),
        "tune-batching": (
            "pytest_gpuperf.commands.tune_batching",
            "find how a Triton server batches best, and write it",
        ),
        "max-batch": ("pytest_gpuperf.commands.max_batch", "find the largest batch that fits into memory"),
    }
)
"""Subcommand → its module, which has ``add_arguments(parser)`` and ``run(args) -> int``, and its help."""

FAULT = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; ``argv`` defaults to the process's own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parser(arguments).parse_args(arguments)
    if args.command is None:
        _parser([]).print_help()
        return 2
    try:
        status: int = import_module(COMMANDS[args.command][0]).run(args)
    except GpuPerfError as error:
        print(f"gpuperf: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return FAULT
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; only the module of the subcommand at hand is imported."""
    parser = argparse.ArgumentParser(prog="gpuperf", description="Baselines and tools of pytest-gpuperf.")
    parser.add_argument("--version", action="version", version=f"pytest-gpuperf {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == chosen:
            import_module(module).add_arguments(command)
    return parser
