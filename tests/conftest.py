"""Fixtures that several test folders share."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.nvml import FakeNvml
from fakes.repository import Repository


@pytest.fixture
def fake_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    folder = tmp_path / "nvml"
    folder.mkdir()
    return FakeNvml(folder, monkeypatch)


@pytest.fixture
def repository(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(pytester, monkeypatch)
