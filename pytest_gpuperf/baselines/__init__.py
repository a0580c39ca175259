"""The memory of the product: approved numbers, one file per server profile and suite, kept in git.

``scan`` refuses what JSON parsers pass over, ``migrations`` lifts older files, ``schema`` turns text into records and
back, ``store`` owns the files, ``samples`` ties each value to the raw numbers behind it, ``merge`` joins two versions
of a file.
"""

from __future__ import annotations

from pytest_gpuperf.baselines.ids import MAX_ID
from pytest_gpuperf.baselines.merge import merge
from pytest_gpuperf.baselines.migrations import SCHEMA_VERSION
from pytest_gpuperf.baselines.samples import MIN_PROCESSES, summarise
from pytest_gpuperf.baselines.scan import MAX_BYTES
from pytest_gpuperf.baselines.schema import Pending, Result, Suite, decode, decode_pending, encode
from pytest_gpuperf.baselines.store import (
    baseline_path,
    pending_path,
    read,
    read_pending,
    slug,
    update,
    update_pending,
)

__all__ = [
    "MAX_BYTES",
    "MAX_ID",
    "MIN_PROCESSES",
    "SCHEMA_VERSION",
    "Pending",
    "Result",
    "Suite",
    "baseline_path",
    "decode",
    "decode_pending",
    "encode",
    "merge",
    "pending_path",
    "read",
    "read_pending",
    "slug",
    "summarise",
    "update",
    "update_pending",
]
