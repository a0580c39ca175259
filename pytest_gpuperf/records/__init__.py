"""The nouns: frozen records that travel between the stages.

Records know nothing: no I/O, no formatting, no decisions. Fields carry their unit in the name (``_ms _ns _s _mib _pct
_sps``). They are plain dataclasses, so that importing them costs no third-party package; msgspec encodes and decodes
them by their annotations wherever they cross a process or a file.

Each is loaded at first use: making a dataclass takes about half a millisecond, and every pytest session would pay for
all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_gpuperf.records.artefact import Artefact, Cost, EngineInfo, Fingerprint, TensorSpec
    from pytest_gpuperf.records.baseline import BaselineEntry, BaselineMetric, Differences, Provenance, Tolerance
    from pytest_gpuperf.records.request import BatchSpec, Budget, EngineSpec, Model
    from pytest_gpuperf.records.sample import (
        AccuracyDelta,
        Block,
        Comparison,
        Higher,
        Live,
        Measured,
        Metric,
        Steady,
        Timeline,
        Volley,
    )
    from pytest_gpuperf.records.status import Status
    from pytest_gpuperf.records.verdict import CaseResult, Finding, Layer, Physics, Trend, Verdict

__all__ = [
    "AccuracyDelta",
    "Artefact",
    "BaselineEntry",
    "BaselineMetric",
    "BatchSpec",
    "Block",
    "Budget",
    "CaseResult",
    "Comparison",
    "Cost",
    "Differences",
    "EngineInfo",
    "EngineSpec",
    "Finding",
    "Fingerprint",
    "Higher",
    "Layer",
    "Live",
    "Measured",
    "Metric",
    "Model",
    "Physics",
    "Provenance",
    "Status",
    "Steady",
    "TensorSpec",
    "Timeline",
    "Tolerance",
    "Trend",
    "Verdict",
    "Volley",
]

_NAMES = {
    "artefact": (
        "Artefact",
        "Cost",
        "EngineInfo",
        "Fingerprint",
        "TensorSpec",
    ),
    "baseline": (
        "BaselineEntry",
        "BaselineMetric",
        "Differences",
        "Provenance",
        "Tolerance",
    ),
    "request": (
        "BatchSpec",
        "Budget",
        "EngineSpec",
        "Model",
    ),
    "sample": (
        "AccuracyDelta",
        "Block",
        "Comparison",
        "Higher",
        "Live",
        "Measured",
        "Metric",
        "Steady",
        "Timeline",
        "Volley",
    ),
    "status": ("Status",),
    "verdict": (
        "CaseResult",
        "Finding",
        "Layer",
        "Physics",
        "Status",
        "Trend",
        "Verdict",
    ),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a record when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    record: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = record
    return record
