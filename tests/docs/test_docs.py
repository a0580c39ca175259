"""The site builds without a warning, and every command of the docs and the README is run, or excluded with a reason."""

from __future__ import annotations

import ensurepip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.repository import QUIET, isolate, plant, write_script

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DOCS = ROOT / "docs"
#: Its commands are benchmarks, minutes each, on machines that it names; that they exist is checked.
MEASUREMENTS = DOCS / "measurements.md"
PAGES = [ROOT / "README.md", *sorted(set(DOCS.rglob("*.md")) - {MEASUREMENTS})]
#: Pages whose commands are run here, in these tests.
WALKED = {
    ROOT / "README.md",
    DOCS / "baselines.md",
    DOCS / "tutorial.md",
    DOCS / "walkthrough.md",
    *(DOCS / "how-to" / f"{name}.md" for name in ("approve", "bisect", "engine", "model", "server")),
}
PROGRAMS = r"(?:make|pytest|gpuperf|git|python3?|sh) "

#: Command → why no test runs it as it stands, on pages that are walked and on others.
EXCLUDED = {
    "gpuperf explain": "needs two programs; tests/plugin/test_explain.py runs it",
    "make suite": "minutes; that make knows what to do is checked",
    "python -m pip install 'pytest-gpuperf[serving]'": "needs the package's release",
    "pytest suites/serving": "half a minute of a real model server; tests/serving runs the parts",
    "gpuperf tune-batching": "minutes of real model servers; tests/serving runs the parts",
    "make test": "runs this very test; that make knows what to do is checked",
}
#: Command → what it ends with where it must not succeed.
ENDS = {
    "gpuperf doctor": ((0, 1), ""),  # says no on a busy or unfit machine, which is an answer
    "pytest --gpu-profile=a40": ((4,), "A40"),  # refused on a machine that is none
    "pytest suites --gpu-profile=a40": ((4,), "A40"),
    "pytest --gpu-profile=cpu --gpu-report=html,junit,comment": ((0, 1), "results: "),  # as the machine's noise has it
}
#: Command → what a person would type.
ANSWERS = {"gpuperf review": "a\nbecause it is meant\n" * 9}
SUCCEEDS = ((0,), "")


def commands(page: Path) -> list[str]:
    """Return the commands of a page: of its sh blocks, and its indented lines that begin with a program."""
    blocks = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```|^    (" + PROGRAMS + r"[^\n]*)$", re.DOTALL | re.MULTILINE)
    lines = []
    for language, block, line in blocks.findall(page.read_text()):
        lines += block.split("\n") if language == "sh" else [line]
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


def is_named(command: str, table: dict[str, object]) -> str | None:
    """Return the entry of a table that a command begins with."""
    return next(
        (prefix for prefix in table if command == prefix or command.startswith((f"{prefix} ", f"{prefix},"))), None
    )


class Workplace:
    """A folder in which a reader follows the docs, and the programs are found."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.ran: list[str] = []
        self._environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **variables}

    def write(self, page: Path) -> None:
        """Write the files that a page shows."""
        shown = re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE)
        for name, content in shown:
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(content)

    def follow(self, page: Path) -> str:
        """Write the page's files, run its commands, and return what they printed."""
        self.write(page)
        return "".join(self.run(command) for command in commands(page) if not is_named(command, EXCLUDED))

    def run(self, command: str) -> str:
        """Run a command as it stands; it ends as it should."""
        statuses, text = ENDS.get(is_named(command, ENDS) or "", SUCCEEDS)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._environment,
            input=ANSWERS.get(is_named(command, ANSWERS) or "", ""),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode in statuses, f"{command}: {done.returncode}\n{done.stdout}"
        assert text in done.stdout
        self.ran.append(command)
        return done.stdout


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(pytester, monkeypatch)
    monkeypatch.setenv("GPUPERF_TIME_BUDGET", "0.3")
    (pytester.path / "conftest.py").write_text(QUIET)
    return pytester.path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_run_or_excluded(page: Path) -> None:
    assert page in WALKED or [command for command in commands(page) if not is_named(command, EXCLUDED)] == []


def test_the_tutorial_and_what_follows_it(folder: Path) -> None:
    place = Workplace(folder, PYTEST_ADDOPTS="-k 8")  # one batch is enough
    place.run("git init -q && echo .gpuperf > .gitignore")
    for name in ("tutorial", "how-to/approve", "how-to/server", "walkthrough"):
        place.follow(DOCS / f"{name}.md")
    assert len(list((folder / "baselines" / "cpu").glob("*.json"))) == 1
    assert (folder / ".gpuperf" / "report.html").is_file()

    # The README and the page on baselines speak of `suites`, and begin with something to review.
    (folder / "suite").rename(folder / "suites")
    for page in (ROOT / "README.md", DOCS / "baselines.md"):
        shutil.rmtree(folder / "baselines")
        place.run("pytest suites --gpu-profile=cpu --gpu-update=all -k 1")
        place.follow(page)
    assert len(place.run("git log --format=%s -- baselines").splitlines()) == 2
    assert len(place.ran) >= 20


def test_adding_an_engine(folder: Path) -> None:
    target = folder / "installed"
    bundled = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")  # an environment need not have pip
    path = os.pathsep.join([str(target), *map(str, bundled), os.environ["PYTHONPATH"]])
    place = Workplace(folder, PYTHONPATH=path, PIP_TARGET=str(target), PIP_DISABLE_PIP_VERSION_CHECK="1")
    place.write(DOCS / "tutorial.md")
    place.run("python suite/model.py")
    assert "1 new" in place.follow(DOCS / "how-to" / "engine.md")


def test_bringing_a_model_with_weights_and_labels(folder: Path) -> None:
    told = Workplace(folder).follow(DOCS / "how-to" / "model.md")
    assert "1 new" in told
    assert "top-1 " in told


def test_bisecting_finds_the_planted_commit(folder: Path) -> None:
    """The page's case runs a scripted engine; the second of three commits makes it twice as slow."""
    (place := Workplace(folder / "tree")).folder.mkdir()
    tree = place.folder
    plant(tree)
    suite = (tree / "test_suite.py").read_text()
    (tree / "suite").mkdir()
    (tree / "suite" / "test_relu.py").write_text(
        suite.replace("test_engine", "test_relu").replace('["fast", "slow"]', '["8"]').replace("seeded", "../seeded")
    )
    (tree / "test_suite.py").unlink()
    write_script(tree, "8", device_ms="1")
    place.run("git init -q && git add . && git commit -qm first && git tag GOOD")
    place.run("pytest suite --gpu-profile=cpu --gpu-update=all && gpuperf accept --all --reason first")
    (tree / "baselines").rename(folder / "approved")
    shutil.rmtree(tree / ".gpuperf")
    for number in (2, 3):
        write_script(tree, "8", device_ms="2")
        (tree / "notes.txt").write_text(f"{number}")
        place.run(f"git add 8.json notes.txt && git commit -qm 'commit {number}'")
    place.run("git tag BAD && echo .gpuperf > .git/info/exclude")
    planted = place.run("git rev-parse BAD~1").strip()

    told = place.follow(DOCS / "how-to" / "bisect.md")

    assert f"{planted} is the first bad commit" in told


def test_make_knows_what_the_readme_asks_it_for() -> None:
    for name in ("make suite", "make test"):
        assert name in EXCLUDED
        done = subprocess.run(
            [*name.split(), "-n", "-W", "none"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert " -m pytest " in done.stdout, done.stderr


def test_the_benchmarks_that_the_measurements_name_exist() -> None:
    named = set(re.findall(r"\bbenchmarks/\w+\.py", MEASUREMENTS.read_text()))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_the_site_builds_without_warnings_and_has_the_generated_pages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--gpu-infra-exit" in (tmp_path / "reference" / "options.html").read_text()
    assert "import-benchmark" in (tmp_path / "reference" / "commands.html").read_text()
    assert "pytest_gpuperf_case" in (tmp_path / "reference" / "hooks.html").read_text()
    assert "schema_version" in (tmp_path / "reference" / "schema.html").read_text()
