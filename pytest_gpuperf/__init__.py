"""pytest-gpuperf: keep AI inference on GPU servers fast and accurate.

Test authors need :class:`Budget` and the fixtures; authors of plugins also need :class:`Model` and the hooks in
:mod:`pytest_gpuperf.hookspecs`.
"""

from __future__ import annotations

from pytest_gpuperf.records.request import Budget, Model

__all__ = ["Budget", "Model"]
__version__ = "0.1.0.dev0"
