"""LoadGen's detail log, read line by line: ``VALID`` alone says little, since errors are only counted there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

_MARK = ":::MLLOG "
#: A log without these was cut off.
_NEEDED = ("result_validity", "result_query_count", "num_errors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What the log says.

    Attributes:
        is_valid: LoadGen's own verdict on latency, duration and number of queries.
        problems: errors, damage and missing parts, in words; any of them voids the run whatever ``is_valid`` says.
        values: key → value of every entry; the last one where a key comes again.
    """

    is_valid: bool
    problems: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)


def read(text: str) -> Detail:
    """Read a whole log."""
    values: dict[str, Any] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith(_MARK):
            problems += [f"line {number} is no entry: {line[:80]}"] if line.strip() else []
            continue
        try:
            entry = json.loads(line.removeprefix(_MARK))
            values[entry["key"]] = entry["value"]
            is_error = entry["metadata"].get("is_error", False)
        except (ValueError, KeyError, TypeError, AttributeError):
            problems.append(f"line {number} is damaged: {line[:80]}")
            continue
        if is_error:
            problems.append(f"{entry['key']}: {entry['value']}")
    problems += [f"the log has no {key}" for key in _NEEDED if key not in values]
    counted = values.get("num_errors", 0)
    if counted and not any(problem.startswith("error") for problem in problems):
        problems.append(f"LoadGen counted {counted} errors")
    return Detail(is_valid=values.get("result_validity") == "VALID", problems=tuple(problems), values=values)
