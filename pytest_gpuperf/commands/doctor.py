"""``gpuperf doctor``: is this machine, and what is installed on it, fit to measure?"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from pytest_gpuperf import codeowners, hardware, health, profiles, versions
from pytest_gpuperf.errors import ConfigError, GpuPerfError, InfraError
from pytest_gpuperf.health import Problem
from pytest_gpuperf.profiles import ServerProfile
from pytest_gpuperf.records import Status
from pytest_gpuperf.records.machine import Machine

#: Variables by which CI systems make themselves known.
CI_VARIABLES = {"GITHUB_ACTIONS": "GitHub Actions", "GITLAB_CI": "GitLab CI", "JENKINS_URL": "Jenkins", "CI": "CI"}
_SHARED = Path("/dev/shm")  # noqa: S108 - looked at, not written
_DEVICES = Path("/dev")
_SHM_MIB = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--profile", default="auto", help="server profile the machine should be (default: auto)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: the current folder)")


def run(args: argparse.Namespace) -> int:
    """Check everything, print it, return 0 when nothing speaks against measuring, else 1."""
    machine = hardware.probe()
    profile, why = profiles.auto(machine) if args.profile == "auto" else (profiles.load(args.profile), "as asked for")
    checks = examine(machine, profile, root=args.root, environ=os.environ)
    is_fit = not any(problem.status for problems in checks.values() for problem in problems)
    if args.json:
        answer = {
            "schema_version": 1,
            "fit": is_fit,
            "profile": profile.name,
            "machine": asdict(machine),
            "packages": versions.installed(),
            "ci": ci_name(os.environ),
            "checks": {name: [asdict(problem) for problem in problems] for name, problems in checks.items()},
        }
        print(json.dumps(answer, indent=1))  # noqa: T201 - this is a command
    else:
        print("\n".join(lines(machine, f"{profile.name} ({why})", checks)))  # noqa: T201 - this is a command
    return 0 if is_fit else 1


def examine(
    machine: Machine, profile: ServerProfile, *, root: Path, environ: Mapping[str, str]
) -> dict[str, tuple[Problem, ...]]:
    """Return each check's problems; a check without problems is fine."""
    return {
        "the machine is the server profile's": _match(machine, profile, environ),
        "GPUs are healthy and free": health.check(machine, profile),
        "the environment leaves CUDA alone": health.environment(environ),
        "installed packages fit": versions.check(versions.installed(), machine, python=sys.version_info[:2]),
        "files and devices may be used": tuple(_permissions(machine, root)),
        "baselines are protected": codeowners.check(root),
    }


def lines(machine: Machine, profile: str, checks: Mapping[str, Iterable[Problem]]) -> list[str]:
    """Return the text: the machine, then each check with its problems."""
    driver = machine.driver.version or f"none ({machine.driver.fault})"
    text = [
        f"profile  {profile}",
        f"machine  {machine.cpu.model}, {machine.cpu.cores} cores, {machine.cpu.memory_mib / 1024:.0f} GiB",
        f"GPUs     {profiles.found_gpus(machine)}; driver {driver}",
        f"packages {', '.join(f'{name} {version}' for name, version in versions.installed().items())}",
        f"CI       {ci_name(os.environ) or 'no'}",
        "",
    ]
    for name, problems in checks.items():
        found = list(problems)
        text.append(f"{_mark(found):<5} {name}")
        text += [f"      {problem}" for problem in found]
    return text


def ci_name(environ: Mapping[str, str]) -> str | None:
    """Return which CI system this runs in, ``None`` outside."""
    return next((name for variable, name in CI_VARIABLES.items() if environ.get(variable)), None)


def _mark(problems: list[Problem]) -> str:
    if any(problem.status for problem in problems):
        return "FAIL"
    return "note" if problems else "ok"


def _match(machine: Machine, profile: ServerProfile, environ: Mapping[str, str]) -> tuple[Problem, ...]:
    try:
        hardware.match(profile, machine, environ=environ)
    except (ConfigError, InfraError) as error:
        return (_problem_of(error),)
    return ()


def _problem_of(error: GpuPerfError) -> Problem:
    status = Status.INFRA if isinstance(error, InfraError) else Status.CONFIG
    cause = f"{error.what}: got {error.got}, expected {error.expected}"
    return Problem(status=status, code="PROFILE_MATCH", cause=cause, next_step=error.hint or "", where="machine")


def _permissions(machine: Machine, root: Path) -> Iterable[Problem]:
    if not os.access(root, os.W_OK):
        cause = f"{root.resolve()} is read-only: results must go elsewhere"
        yield Problem(status=None, code="PERMISSIONS", cause=cause, next_step="give --gpu-out=DIR", where="files")
    for device in sorted(_DEVICES.glob("nvidia[0-9]*")) if machine.gpus else []:
        if not os.access(device, os.R_OK | os.W_OK):
            step = f"add this user to the group that owns {device}"
            yield Problem(
                status=Status.INFRA,
                code="PERMISSIONS",
                cause=f"{device} may not be used",
                next_step=step,
                where="files",
            )
    shared = os.statvfs(_SHARED) if _SHARED.is_dir() else None
    free_mib = shared.f_bavail * shared.f_frsize / 1024**2 if shared else 0
    if free_mib < _SHM_MIB:
        cause = f"{_SHARED} has {free_mib:.0f} MiB free, servers and data loaders need more"
        step = "start the container with --shm-size=1g"
        yield Problem(status=None, code="SHARED_MEMORY", cause=cause, next_step=step, where="host")
