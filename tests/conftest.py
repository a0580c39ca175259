"""Fixtures that several test folders share."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.nvml import FakeNvml


@pytest.fixture
def fake_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    folder = tmp_path / "nvml"
    folder.mkdir()
    return FakeNvml(folder, monkeypatch)
