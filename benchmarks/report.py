"""How long reports take and how large they are: ``python benchmarks/report.py [CASES]``.

The cases are those of tests/golden/results.json, repeated under other names; half of them have details to tell.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path

from pytest_gpuperf.report import formats, results
from pytest_gpuperf.report.results import Results

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "results.json"
BATCHES = (1, 8, 16, 32, 64)
REPEATS = 5


def session(count: int) -> Results:
    """Return a session of many cases, five batches of each model."""
    sample = results.read(GOLDEN)
    cases = []
    for number in range(count):
        model, batch = f"model{number // 5:04d}", BATCHES[number % 5]
        case = sample.cases[number % len(sample.cases)]
        name = f"suites/vision/test_{model}.py::test_{model}_fp16[{batch}]"
        cases.append(dataclasses.replace(case, id=name, model=model, batch=batch))
    return dataclasses.replace(sample, cases=tuple(cases))


def main() -> None:
    """Print a Markdown table of median times and sizes."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    many = session(count)
    print(f"{count} cases, median of {REPEATS}\n\n| format | s | bytes |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"

        def write_json() -> dict[str, str]:
            results.write(path, results.document(many.profile, many.fingerprint, many.cases))
            return {path.name: path.read_text()}

        row("JSON, written", write_json)
        row("JSON, read", lambda: read(path))
    for name in formats.FORMATS:
        row(name, lambda name=name: formats.render([name], [many]))


def read(path: Path) -> dict[str, str]:
    """Read results; nothing is made."""
    results.read(path)
    return {}


def row(name: str, make) -> None:  # noqa: ANN001 - any function that returns file name → text
    """Time one format and print its row."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        made = make()
        seconds.append(time.perf_counter() - started)
    size = sum(len(text.encode()) for text in made.values())
    print(f"| {name} | {statistics.median(seconds):.3f} | {size or ''} |")


if __name__ == "__main__":
    main()
