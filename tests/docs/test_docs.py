"""The site builds without a warning, and every command of the docs and the README is run, or excluded with a reason."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.repository import isolate

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
#: Its commands are benchmarks, minutes each, on machines that it names.
MEASUREMENTS = ROOT / "docs" / "measurements.md"
PAGES = [ROOT / "README.md", *sorted(set((ROOT / "docs").rglob("*.md")) - {MEASUREMENTS})]
WALKED = (
    ROOT / "docs" / "tutorial.md",
    ROOT / "docs" / "how-to" / "approve.md",
    ROOT / "docs" / "how-to" / "server.md",
)
PROGRAMS = r"(?:make|pytest|gpuperf|git|python3?|sh) "

#: Command → why no test runs it. Nothing else is left out.
EXCLUDED = {
    "make suite": "slow: measures for minutes",
    "make test": "slow: runs this very test",
    "pytest --gpu-profile=a40": "needs an NVIDIA A40",
    "pytest suites --gpu-profile=a40": "needs an NVIDIA A40",
    "pytest suites --gpu-profile=auto": "slow: minutes; approve.md does it on a small suite",
    "pytest --gpu-profile=cpu --gpu-report=html,junit,comment": "a planted regression's run, which ends red by design",
    "gpuperf review": "asks a person; tests/unit/test_cli_review.py answers",
    "git add baselines": "plain git",
    "git bisect": "needs a history with a regression in it",
}


def commands(page: Path) -> list[str]:
    """Return the commands of a page: of its sh blocks, and its indented lines that begin with a program."""
    text = page.read_text()
    fenced = [
        line for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE) for line in block.split("\n")
    ]
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(rf"^    ({PROGRAMS}.*)$", rest, re.MULTILINE)
    return [line.partition("  #")[0].strip() for line in fenced + indented if line.strip()]


def is_excluded(command: str) -> bool:
    return any(command == prefix or command.startswith((prefix + " ", prefix + "  ")) for prefix in EXCLUDED)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_run_or_excluded(page: Path) -> None:
    assert page in WALKED or [command for command in commands(page) if not is_excluded(command)] == []


def test_the_commands_of_the_tutorial_and_of_what_follows_it_work(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(pytester, monkeypatch)
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    for name, content in re.findall(
        r'^```python title="(.*?)"\n(.*?)^```', WALKED[0].read_text(), re.DOTALL | re.MULTILINE
    ):
        (pytester.path / name).parent.mkdir(exist_ok=True)
        (pytester.path / name).write_text(content)
    ran = 0
    for page in WALKED:
        for command in commands(page):
            done = subprocess.run(
                ["bash", "-c", command], cwd=pytester.path, capture_output=True, text=True, check=False
            )
            is_finding = command.startswith("gpuperf doctor")  # says no on a busy or unfit machine, which is an answer
            assert done.returncode == 0 or (is_finding and done.returncode == 1), command + done.stdout + done.stderr
            ran += 1
    assert ran >= 9
    assert list((pytester.path / "baselines" / "cpu").glob("*.json"))


def test_the_site_builds_without_warnings_and_has_the_generated_pages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--gpu-infra-exit" in (tmp_path / "reference" / "options.html").read_text()
    assert "import-benchmark" in (tmp_path / "reference" / "commands.html").read_text()
    assert "pytest_gpuperf_case" in (tmp_path / "reference" / "hooks.html").read_text()
    assert "schema_version" in (tmp_path / "reference" / "schema.html").read_text()
