"""Runs another program that ends with its parent: ``python -m pytest_gpuperf.serving.guard PROGRAM ARGUMENT…``.

The kernel is asked before the program takes the process over, so that a server never outlives a killed pytest.
"""

from __future__ import annotations

import os
import sys

from pytest_gpuperf.worker.leash import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the caller names the program; nothing is parsed by a shell
