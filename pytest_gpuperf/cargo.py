"""Results on their way from the process that measured to the one that writes, on pytest's own reports.

As text, since xdist sends nothing else; MessagePack, since JSON has no infinity.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from pytest_gpuperf.records import CaseResult

ATTRIBUTE = "gpuperf_results"


def load(report: Any, results: Sequence[CaseResult]) -> None:
    """Put the results on a report."""
    setattr(report, ATTRIBUTE, base64.b64encode(msgspec.msgpack.encode(results)).decode())


def unload(report: Any) -> list[CaseResult]:
    """Return the results on a report; none is an empty list."""
    text = getattr(report, ATTRIBUTE, None)
    return [] if text is None else msgspec.msgpack.decode(base64.b64decode(text), type=list[CaseResult])
