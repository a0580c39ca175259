"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.nvml import FakeNvml
from fakes.repository import Repository
from hypothesis import settings

from pytest_gpuperf.approval import CI_VARIABLES

# How long an example takes depends on who else uses the machine.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# A session inside a test runs for nobody's CI unless the test says so: there, `new` fails and updates are refused.
for variable in CI_VARIABLES:
    os.environ.pop(variable, None)


@pytest.fixture(autouse=True)
def _no_xdist_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session inside a test is its own, also where the test runs in a worker of xdist."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)


@pytest.fixture
def fake_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    folder = tmp_path / "nvml"
    folder.mkdir()
    return FakeNvml(folder, monkeypatch)


@pytest.fixture
def repository(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(pytester, monkeypatch)
