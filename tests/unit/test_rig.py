"""What a session measures with: which process a case gets, and how long it may take."""

from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from pytest_gpuperf import profiles
from pytest_gpuperf.records import BaselineEntry, BatchSpec, Differences, EngineSpec, Fingerprint, Model, Provenance
from pytest_gpuperf.rig import MAX_ROUNDS, ROUND_S, Rig

SPEC = EngineSpec(kind="fake", model=Model(name="m", source="m.py:build", inputs="m.py:inputs"))
BATCHES = BatchSpec(inputs="m.py:inputs", batch=1, samples=4)
ENTRY = BaselineEntry(
    metrics={}, conditions={}, provenance=Provenance(kind="measured", date="2026-01-01", reason="first"), machine="abc"
)


class ScriptedWorker:
    def __init__(self, *, builds):
        self.has_built, self.builds = False, builds

    def open(self, *_, **__):
        self.has_built = self.builds
        return "info"


class ScriptedPool:
    """Workers by number; the first ``building`` of them have to build what they open."""

    def __init__(self, building=0):
        self.building, self.started = building, []

    def worker(self, role):
        return self.started[-1][1] if self.started else self.fresh(role)

    def fresh(self, role):
        self.started.append((role, ScriptedWorker(builds=len(self.started) < self.building)))
        return self.started[-1][1]


def rig(pool=None, **changes):
    fields = {
        "pool": pool or ScriptedPool(),
        "profile": profiles.load("cpu"),
        "machine": SimpleNamespace(gpus=()),
        "fingerprint": Fingerprint(machine="abc", hardware={}, software={}),
        "cache": Path("cache"),
        "bundle": None,
        "suites": {},
        "budget_s": 15.0,
        "processes": 1,
        "rng": Random(0),
        "progress": SimpleNamespace(say=print),
        **changes,
    }
    return Rig(**fields)


def test_a_process_that_had_to_build_is_not_the_one_that_is_measured():
    pool = ScriptedPool(building=1)
    worker, info = rig(pool).open("candidate", SPEC, BATCHES)
    assert (info, worker.has_built, [role for role, _ in pool.started]) == ("info", False, ["candidate", "candidate"])


def test_a_process_that_found_everything_is_kept():
    pool = ScriptedPool()
    first, _ = rig(pool).open("candidate", SPEC, BATCHES)
    second, _ = rig(pool).open("candidate", SPEC, BATCHES)
    assert first is second


@pytest.mark.parametrize(("pair_s", "rounds"), [(0.001, 32), (2.0, 18), (60.0, 4)])
def test_a_comparison_has_as_many_looks_as_fit_into_its_share_and_overtime(pair_s, rounds):
    rule = rig().rule(ENTRY, Differences(), pair_s=pair_s)
    assert (rule.min_pairs, rule.max_pairs, rule.budget_s, rule.round_s) == (3, rounds, pytest.approx(12.45), ROUND_S)
    assert rounds <= MAX_ROUNDS


def test_without_a_baseline_all_rounds_go_into_the_estimate():
    rule = rig().rule(None, Differences(), pair_s=0.001)
    assert (rule.min_pairs, rule.max_pairs, rule.budget_s, rule.overtime) == (10, 10, pytest.approx(2.55), 1.0)


def test_a_rule_knows_how_many_cases_the_session_has():
    assert rig().rule(ENTRY, Differences(), cases=50).alpha == pytest.approx(0.001)
