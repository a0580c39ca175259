"""Both directions against the pytest-benchmark that is installed, and the hook that carries the results."""

from __future__ import annotations

import json

import pytest
from fakes.repository import Repository

from pytest_gpuperf import interop  # noqa: F401 - pytester forgets what a run imported: have it before
from pytest_gpuperf.cli import main

HOOK = """

def pytest_gpuperf_case(config, result):
    with open(config.rootpath / "told.txt", "a") as file:
        file.write(f"{result.id} {result.verdict.status}\\n")
"""


def test_a_session_shows_its_cases_to_pytest_benchmark_and_to_the_hook(repository: Repository) -> None:
    with (repository.path / "conftest.py").open("a") as conftest:
        conftest.write(HOOK)

    first = repository.run("--benchmark-json=saved.json", "--benchmark-autosave", "--benchmark-histogram=plot")
    first.stdout.fnmatch_lines(["*benchmark 'fake': 2 tests*", "*engine?fast?*"])

    cases = sorted(repository.results())
    assert sorted((repository.path / "told.txt").read_text().split()[::2]) == cases
    saved = {
        entry["fullname"]: entry for entry in json.loads((repository.path / "saved.json").read_text())["benchmarks"]
    }
    assert sorted(saved) == cases
    fast, slow = saved["test_suite.py::test_engine[fast]"], saved["test_suite.py::test_engine[slow]"]
    assert (fast["stats"]["median"], slow["stats"]["median"]) == (0.001, 0.003)
    assert fast["params"] == {"engine": "fakes.scripted:ScriptedEngine", "precision": "fp32", "batch": 8}
    assert "quantiles" in fast["extra_info"]["rounds_are"]

    repository.script("fast", device_ms="2")
    second = repository.run("--benchmark-compare", "--benchmark-compare-fail=median:50%")
    second.stderr.fnmatch_lines(["*Performance has regressed*"])
    assert "0001" in second.stdout.str()


def test_a_session_with_a_benchmark_of_its_own_shows_ours_beside_it(repository: Repository) -> None:
    (repository.path / "test_plain.py").write_text("def test_sum(benchmark):\n    benchmark(sum, [1, 2])\n")
    result = repository.run("--benchmark-max-time=0.01")
    result.stdout.fnmatch_lines(["*benchmark 'fake': 2 tests*"])


def test_where_nobody_looks_at_pytest_benchmark_its_table_is_not_printed(repository: Repository) -> None:
    result = repository.run()
    assert "benchmark 'fake'" not in result.stdout.str()
    assert len(repository.results()) == 2


@pytest.mark.parametrize("option", ["--benchmark-disable", "--benchmark-skip"])
def test_pytest_benchmark_that_is_off_stays_off(repository: Repository, option: str) -> None:
    (repository.path / "test_plain.py").write_text("def test_sum(benchmark):\n    benchmark(sum, [1, 2])\n")
    result = repository.run(option)
    assert "benchmark 'fake'" not in result.stdout.str()
    assert len(repository.results()) == 2


def test_without_pytest_benchmark_nothing_is_missing(repository: Repository) -> None:
    result = repository.run("-p", "no:benchmark")
    assert "benchmark 'fake'" not in result.stdout.str()
    assert len(repository.results()) == 2


def test_saved_benchmarks_become_pending_and_then_baselines(
    pytester: pytest.Pytester, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    pytester.makepyfile(test_plain="def test_sum(benchmark):\n    benchmark(sum, [1, 2])\n")
    pytester.runpytest("test_plain.py", "--benchmark-json=saved.json", "--benchmark-max-time=0.01")

    assert main(["import-benchmark", "saved.json", "--profile=cpu", "--suite=plain"]) == 0
    assert "1 pending baselines in .gpuperf/pending/cpu/plain.json" in capsys.readouterr().out
    assert main(["accept", "--all", "--reason", "taken over"]) == 0

    case = json.loads((repository.path / "baselines/cpu/plain.json").read_text())["cases"]["test_plain.py::test_sum"]
    saved = json.loads((repository.path / "saved.json").read_text())
    assert case["metrics"]["latency_p50_ms"]["value"] == pytest.approx(
        1000 * saved["benchmarks"][0]["stats"]["median"], rel=1e-5
    )
    assert case["provenance"]["source"] == f"imported from pytest-benchmark {saved['version']}: saved.json"
