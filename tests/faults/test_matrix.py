"""The fault matrix itself: complete, true to the tests, and the document current."""

from __future__ import annotations

import ast

import pytest
from faults import matrix

ROWS = [row for rows in matrix.SECTIONS.values() for row in rows]


def test_every_row_is_here_or_said_to_be_elsewhere():
    numbers = [row.number for row in ROWS]
    assert sorted([*numbers, *matrix.ELSEWHERE]) == list(range(1, 78))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"row{row.number:02}")
def test_tests_of_a_row_exist(row):
    assert row.tests
    for test in row.tests:
        file, _, name = test.partition("::")
        assert name in matrix.functions(file), test


def test_document_is_current():
    document = (matrix.ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert document == matrix.document(), "make it anew: python tests/faults/matrix.py > docs/faults.md"


def test_row40_wall_time_is_never_subtracted():
    """A clock that jumps changes no measurement: what reads wall time only labels, or looks at files' ages."""
    readers = set()
    for path in sorted((matrix.ROOT / "pytest_gpuperf").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"time.time", "time.time_ns"}:
                readers.add(str(path.relative_to(matrix.ROOT / "pytest_gpuperf")))
    assert readers <= {"files.py", "commands/cache.py", "convert/cache.py"}, readers
