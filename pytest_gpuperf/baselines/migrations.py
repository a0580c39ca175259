"""Older files, lifted to the current schema in memory. The file itself is rewritten at its next accepted change.

Each step takes the plain JSON values of one version to the next; there is a golden file of every version under
tests/golden/baselines, and steps are never removed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_gpuperf.errors import BaselineError

SCHEMA_VERSION = 1


def _nest_samples(content: dict[str, Any]) -> dict[str, Any]:
    """Version 0, the draft before the first release, kept a case's samples apart from its metrics."""
    cases = {}
    for name, case in content["cases"].items():
        samples = case.get("samples", {})
        metrics = {
            metric: {**fields, "samples": samples[metric]} if metric in samples else fields
            for metric, fields in case["metrics"].items()
        }
        cases[name] = {**{key: value for key, value in case.items() if key != "samples"}, "metrics": metrics}
    return {**content, "cases": cases}


STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: _nest_samples}
"""Version → the step that leads away from it."""


def migrate(name: str, content: Any) -> dict[str, Any]:
    """Return the content of a file in the current schema.

    Args:
        name: the file's path, for messages.
        content: parsed JSON.

    Raises:
        BaselineError: not an object, no schema version, one of the future, or an old file that breaks its own schema.
    """
    if not isinstance(content, dict):
        raise BaselineError(f"{name}: $ is not a baseline file", got=type(content).__name__, expected="an object")
    version = content.get("schema_version")
    if type(version) is not int or version < 0:
        raise BaselineError(
            f"{name}: $.schema_version is not a schema version", got=repr(version), expected=f"{SCHEMA_VERSION}"
        )
    if version > SCHEMA_VERSION:
        raise BaselineError(
            f"{name}: written by a newer pytest-gpuperf",
            got=f"schema_version {version}",
            expected=f"at most {SCHEMA_VERSION}",
            hint="upgrade: pip install --upgrade pytest-gpuperf",
        )
    while version < SCHEMA_VERSION:
        try:
            content = STEPS[version](content)
        except (AttributeError, KeyError, TypeError) as error:
            raise BaselineError(
                f"{name}: not a valid file of schema_version {version}",
                got=f"{type(error).__name__}: {error}",
                hint=f"git checkout -- {name}",
            ) from error
        version += 1
    return {**content, "schema_version": SCHEMA_VERSION}
