"""pytest on a server of the fleet: it dies with its actor, and says which test runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pytest_gpuperf.worker import leash


class Current:
    """Keeps the node id of the running test in a file, so that a lost server is known by the case that it ran."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Say what begins."""
        self._path.write_text(nodeid, encoding="utf-8")

    def pytest_runtest_logfinish(self) -> None:
        """Nothing runs now."""
        self._path.write_text("", encoding="utf-8")


leash.die_with_parent()
sys.exit(pytest.main(sys.argv[1:], plugins=[Current(Path(os.environ["GPUPERF_CURRENT"]))]))
