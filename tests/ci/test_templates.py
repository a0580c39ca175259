"""The templates in ci/: their shell steps are run for real, their structure is checked with the tools that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fakes.repository import Repository

CI = Path(__file__).parents[2] / "ci"
BIN = Path(sys.executable).parent
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


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "CI": "true",
        "PROFILE": "cpu",
        "SUITES": "test_suite.py",
        "PYTHON": sys.executable,
        "RETRY_AFTER_S": "0",
        "GPUPERF_TIME_BUDGET": "0.3",
        **variables,
    }
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("system", MEASURE)
def test_a_run_without_baselines_fails_and_leaves_what_the_artefact_needs(repository: Repository, system: str) -> None:
    done = shell(MEASURE[system], repository.path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert set(repository.verdicts().values()) == {"new"}
    assert (repository.path / ".gpuperf/pending/cpu/suite.json").is_file()
    assert (repository.path / ".gpuperf/report.html").is_file()
    assert (repository.path / "junit.xml").is_file()
    assert not (repository.path / "baselines").exists()
    assert (repository.path / ".gpuperf/metrics.txt").is_file() == (system == "gitlab")


def test_the_accept_job_makes_a_branch_whose_baselines_turn_the_build_green(repository: Repository) -> None:
    for arguments in (["init", "-q", "-b", "main"], ["add", "test_suite.py"], ["commit", "-qm", "A suite"]):
        git(repository.path, *arguments)
    assert shell(MEASURE["github"], repository.path).returncode == 1
    (repository.path / "measured").mkdir()
    shutil.move(repository.path / ".gpuperf", repository.path / "measured" / ".gpuperf")

    accept = github("gpuperf-accept.yml", "accept")["accept"]
    done = shell(
        accept, repository.path, BRANCH="gpuperf-baselines-1", APPROVER="octocat", REASON="a $(touch hit) reason"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert not (repository.path / "hit").exists()
    assert git(repository.path, "log", "-1", "--format=%s").strip() == "a $(touch hit) reason"
    assert "baselines/cpu/suite.json" in git(repository.path, "show", "--name-only", "--format=")
    assert git(repository.path, "branch", "--show-current").strip() == "gpuperf-baselines-1"
    assert shell(MEASURE["github"], repository.path).returncode == 0


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
    assert shell(doctorless, tmp_path, PYTHON=str(python)).returncode == expected
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


def test_workflows_pass_actionlint(tmp_path: Path) -> None:
    if (actionlint := shutil.which("actionlint", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")) is None:
        pytest.skip("actionlint is not installed")
    command = [actionlint, "-config-file", CI / "github" / "actionlint.yaml", *WORKFLOWS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
