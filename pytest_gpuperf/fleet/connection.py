"""The way to a Ray cluster, taken only where nobody else can submit programs to it."""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gpuperf.errors import ConfigError, InfraError

if TYPE_CHECKING:
    from types import ModuleType

#: The first release of Ray with token authentication. Before it, whoever reaches the ports of a cluster runs programs
#: on it (CVE-2023-48022).
AUTHENTICATED = (2, 52)
#: What is not sent to the servers.
EXCLUDES = (".git", ".gpuperf", ".venv", "__pycache__", "*.pyc", ".mypy_cache", ".ruff_cache", ".pytest_cache")


def check(address: str, *, version: str, environ: Mapping[str, str], is_trusted: bool) -> None:
    """Refuse a remote cluster without authentication.

    Raises:
        ConfigError: says what authentication lacks, and how to set it up.
    """
    if is_trusted or _is_loopback(address):
        return
    release = tuple(int(part) for part in version.split(".")[:2])
    if release >= AUTHENTICATED and environ.get("RAY_AUTH_MODE") == "token":
        return
    raise ConfigError(
        "the Ray cluster is remote, and this session does not authenticate with it",
        got=f"{address} with Ray {version}, RAY_AUTH_MODE={environ.get('RAY_AUTH_MODE', '(unset)')}",
        expected="Ray 2.52 or later and RAY_AUTH_MODE=token, on the cluster and here",
        hint="see `ray get-auth-token --help`; in a network where everybody may run programs: --gpu-trust",
    )


def connect(address: str, *, folder: Path, is_trusted: bool) -> ModuleType:
    """Connect, send ``folder`` by the hash of its content, and return Ray.

    Ray itself keeps what it has seen, under ``gcs://_ray_pkg_<hash>``: nothing travels twice.

    Raises:
        ConfigError: Ray is not installed, or see :func:`check`.
        InfraError: the cluster does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "--gpu-fleet needs Ray", got=str(error), hint="pip install 'pytest-gpuperf[fleet]'"
        ) from error
    check(address, version=ray.__version__, environ=os.environ, is_trusted=is_trusted)
    environment = {"working_dir": str(folder), "excludes": list(EXCLUDES)}
    start = partial(
        ray.init, address=address, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR
    )
    try:
        try:
            start()
        except ConnectionAbortedError:  # the cluster answered, but its own process for this session died at its start
            start()
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise InfraError(
            "the Ray cluster does not answer",
            got=f"{address}: {error}",
            hint="is its client server up? ray start --head --ray-client-server-port=10001",
        ) from error
    return ray


def resources(profile: str, offered: Mapping[str, float]) -> dict[str, float]:
    """Return what an actor must ask for to land on a server of this profile.

    A server offers a profile by the custom resource ``gpuperf:NAME``. Without one, Ray's own accelerator type decides,
    where the profile's name begins with it (``a100-80gb`` with ``A100``).
    """
    named = f"gpuperf:{profile}"
    kinds = [name.removeprefix("accelerator_type:") for name in offered if name.startswith("accelerator_type:")]
    fitting = [kind for kind in kinds if profile.lower().startswith(kind.lower())]
    if named in offered or not fitting:
        return {named: 1}
    return {f"accelerator_type:{max(fitting, key=len)}": 0.001, "GPU": 1}


def _is_loopback(address: str) -> bool:
    host = address.partition("://")[2].rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
