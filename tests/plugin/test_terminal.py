"""What a person sees: real sessions on a pseudo-terminal, wide and narrow, in colour or without, quiet and verbose."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from fakes.repository import QUIET, Repository

ROOT = Path(__file__).parents[2]
ANSI = re.compile(r"\x1b\[[\d;]*[mK]")
# What a case finds is not what these tests are about: `slow` has regressed, `fast` has passed, at once.
CANNED = """
import sys
from dataclasses import replace

sys.path.insert(0, ROOT)
from pytest_gpuperf import case
from tests.unit.report.conftest import make_case, make_regressed


def run(this, rig):
    return replace(make_regressed() if "slow" in this.id else make_case(), id=this.id)


case.run = run
"""


def on_terminal(folder: Path, *arguments: str, columns: int = 80, **variables: str) -> str:
    """Return what pytest writes to a terminal of that width."""
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR", "PY_COLORS"}}
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-m", "pytest", "--gpu-profile=cpu", "--gpu-time-budget=0.3", *arguments]
    child = subprocess.Popen(
        command,
        cwd=folder,
        env={**kept, "TERM": "xterm", **variables},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    written = b""
    try:
        while chunk := os.read(leader, 65_536):
            written += chunk
    except OSError:  # so Linux says that the other side has closed
        pass
    os.close(leader)
    child.wait(timeout=60)
    return written.decode().replace("\r\n", "\n")


def section(text: str) -> list[str]:
    """Return the lines of the closing section, colours included."""
    _, _, rest = text.partition(" gpuperf ===")
    return rest.partition("short test summary")[0].splitlines()[1:-1]


@pytest.fixture
def canned(repository: Repository) -> Path:
    (repository.path / "conftest.py").write_text(QUIET + CANNED.replace("ROOT", repr(str(ROOT))))
    return repository.path


def test_progress_is_one_line_that_goes_away(repository: Repository) -> None:
    text = on_terminal(repository.path, "-k", "fast", columns=100)
    drawn = [line for line in re.split(r"\r\x1b\[K|\n", text) if line.startswith("gpuperf test_suite.py::test_engine")]
    assert any(" | measuring fakes.scripted" in line for line in drawn), text
    assert re.search(r" \| timing \| \d+ s left", "\n".join(drawn)), text
    assert all(len(line) < 100 for line in drawn)
    assert "\n".join(section(text)).count("test_engine[fast]") == 1
    assert "| timing" not in text.rpartition("\x1b[K")[2]


@pytest.mark.parametrize("columns", [60, 80])
def test_colours_the_worst_case_first_and_no_line_wider_than_a_narrow_terminal(canned: Path, columns: int) -> None:
    text = on_terminal(canned, columns=columns)
    lines = section(text)
    assert lines[1].startswith("\x1b[31mregressed")
    assert lines[2].startswith("\x1b[32mpassed")
    rows = [ANSI.sub("", line) for line in lines[:3]]
    assert rows[0].split()[:2] == ["verdict", "case"]
    assert ("p99 ms" in rows[0]) == (columns == 80)
    assert max(map(len, rows)) <= columns
    assert "gpuperf 0." in text.partition("collected")[0]  # the header


def test_quiet_says_what_is_wrong_verbose_says_all_and_no_color_is_obeyed(canned: Path) -> None:
    quiet, verbose = (on_terminal(canned, flag, columns=160, NO_COLOR="1") for flag in ("-q", "-v"))
    assert [line.split()[0] for line in section(quiet)[:2]] == ["verdict", "regressed"]
    assert "passed  " not in "\n".join(section(quiet))
    assert "\x1b[K" not in quiet
    assert section(verbose)[0].split()[-1] == "took"
    assert "0.536 … 0.558" in "\n".join(section(verbose))
    assert not re.search(r"\x1b\[[\d;]*m", quiet + verbose)


def test_without_a_case_there_is_no_section(canned: Path) -> None:
    (canned / "test_plain.py").write_text("def test_plain():\n    pass\n")
    text = on_terminal(canned, "test_plain.py")
    assert "1 passed" in text
    assert " gpuperf ===" not in text
