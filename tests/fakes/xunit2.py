"""The schema of the JUnit family that pytest writes by default."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import xmlschema

OURS = Path(__file__).parents[1] / "schemas" / "xunit2.xsd"


@cache
def schemas() -> list[xmlschema.XMLSchema]:
    """Return ours, and the original where ``GPUPERF_JUNIT_XSD`` names a copy of it."""
    original = os.environ.get("GPUPERF_JUNIT_XSD")
    return [xmlschema.XMLSchema(path) for path in (OURS, *([original] if original else []))]
