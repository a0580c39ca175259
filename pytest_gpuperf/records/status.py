"""What a case can come to."""

from __future__ import annotations

from enum import Enum


class Status(str, Enum):
    """What a case came to. Only ``passed`` and ``improved`` are green by default."""

    PASSED = "passed"
    IMPROVED = "improved"
    REGRESSED = "regressed"
    OVER_BUDGET = "over_budget"
    INACCURATE = "inaccurate"
    NEW = "new"
    NOT_COMPARABLE = "not_comparable"
    INCONCLUSIVE = "inconclusive"
    INFRA = "infra"
    CONFIG = "config"

    def __str__(self) -> str:
        return self.value
