"""The nouns: frozen records that travel between the stages.

Records know nothing: no I/O, no formatting, no decisions. Fields carry their unit in the name (``_ms _ns _s _mib _pct
_sps``). They are plain dataclasses, so that importing them costs no third-party package; msgspec encodes and decodes
them by their annotations wherever they cross a process or a file.
"""

from __future__ import annotations

from pytest_gpuperf.records.artefact import Artefact, Cost, EngineInfo, Fingerprint, TensorSpec
from pytest_gpuperf.records.baseline import BaselineEntry, BaselineMetric, Differences, Provenance, Tolerance
from pytest_gpuperf.records.request import BatchSpec, Budget, EngineSpec, Model
from pytest_gpuperf.records.sample import AccuracyDelta, Block, Comparison, Higher, Measured, Metric, Steady, Volley
from pytest_gpuperf.records.verdict import CaseResult, Finding, Physics, Status, Trend, Verdict

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
    "Measured",
    "Metric",
    "Model",
    "Physics",
    "Provenance",
    "Status",
    "Steady",
    "TensorSpec",
    "Tolerance",
    "Trend",
    "Verdict",
    "Volley",
]
