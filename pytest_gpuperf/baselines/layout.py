"""JSON laid out for git: what changes together stands on one line, everything sorted, nothing depends on the writer."""

from __future__ import annotations

import json
from typing import Any

OPENED = frozenset({"cases", "conditions", "metrics"})
"""Objects whose members get a line each; their own members, and all else, are written on one line."""

_CASE_DEPTH = 2


def render(content: dict[str, Any]) -> bytes:
    """Return ``content`` as UTF-8 JSON with a final newline."""
    return (_open(content, 0) + "\n").encode(errors="replace")


def _open(content: dict[str, Any], depth: int) -> str:
    if not content:
        return "{}"
    pad = " " * (depth + 1)
    members = (f"{pad}{_line(key)}: {_member(key, content[key], depth + 1)}" for key in sorted(content))
    return "{\n" + ",\n".join(members) + "\n" + " " * depth + "}"


def _member(key: str, value: Any, depth: int) -> str:
    is_opened = depth == _CASE_DEPTH or (depth != _CASE_DEPTH + 2 and key in OPENED)
    return _open(value, depth) if is_opened and isinstance(value, dict) else _line(value)


_line = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True).encode
