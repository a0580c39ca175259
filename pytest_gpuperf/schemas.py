"""JSON Schemas of the files that we publish, made of the records that read and write them."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec


def of(record: type) -> dict[str, Any]:
    """Return a record's JSON Schema, the same on every Python: from 3.13 on docstrings have lost their indentation."""
    cleaned = _cleaned(msgspec.json.schema(record))
    assert isinstance(cleaned, dict)
    return cleaned


def _cleaned(node: object) -> object:
    if isinstance(node, dict):
        return {
            name: inspect.cleandoc(value) if name == "description" and isinstance(value, str) else _cleaned(value)
            for name, value in node.items()
        }
    return [_cleaned(item) for item in node] if isinstance(node, list) else node
