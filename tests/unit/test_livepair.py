"""Live pairs of scripted processes: three figures, each with its margin; disturbances; the suite's error rate."""

from contextlib import contextmanager
from random import Random
from types import SimpleNamespace

import pytest

from pytest_gpuperf import livepair
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.evidence import Rule
from pytest_gpuperf.livepair import MARGINS_PCT, P99, THROUGHPUT, Contest
from pytest_gpuperf.load import Reading
from pytest_gpuperf.opponent import Reference
from pytest_gpuperf.records import BatchSpec, Block, EngineInfo, EngineSpec, Model, Steady, Tolerance, Volley

P50 = "latency_p50_ms"
RULE = Rule(max_pairs=12, round_s=1.0, budget_s=1e9)


class Machine:
    """Time that only measuring moves, and CPU time that others take."""

    def __init__(self, foreign=0.0):
        self.now_s = self.busy_s = 0.0
        self.foreign = foreign

    def read(self):
        return Reading(wall_ns=round(self.now_s * 1e9), busy_ns=round(self.busy_s * 1e9))


class Side:
    """A warmed-up process: calls of ``ms``, every 50th ``tail`` times as long, and a throughput."""

    def __init__(self, machine, rng, *, ms=1.0, tail=1.0, sps=1000.0, noise=0.005, is_steady=True):
        self.machine, self.rng, self.ms, self.tail, self.sps, self.noise = machine, rng, ms, tail, sps, noise
        self.offset = 1 + rng.gauss(0, noise)
        self.steady = Steady(is_steady=is_steady, warmup_runs=9, warmup_s=1.0, drift_pct=0.5 if is_steady else 12.0)

    def measure(self, *, seconds, max_calls, core=None):
        self.machine.now_s += seconds
        self.machine.busy_s += seconds * (1 + self.machine.foreign)
        ms = self.ms * self.offset
        calls = (ms * (self.tail if call % 50 == 0 else 1) * (1 + abs(self.rng.gauss(0, 0.002))) for call in range(100))
        return Block(host_ns=tuple(round(1e6 * call) for call in calls), cpu_ns=round(seconds * 1e9))

    def volley(self, *, in_flight, seconds):
        self.machine.now_s += seconds
        rate = self.sps / self.offset * (1 + self.rng.gauss(0, self.noise))
        return Volley(in_flight=in_flight, calls=round(1000 * rate * seconds), batch=1, seconds=1000 * seconds)


def run(*, seed=0, rule=RULE, margins=MARGINS_PCT, foreign=0.0, cases=1, steady=(), **candidate):
    """Compare; ``steady`` says of each pair whether its candidate becomes steady, ``True`` after the last."""
    machine, rng, opened = Machine(foreign), Random(seed), []

    @contextmanager
    def open_pair():
        number = len(opened)
        opened.append("open")
        is_steady = steady[number] if number < len(steady) else True
        yield Side(machine, rng, is_steady=is_steady, **candidate), Side(machine, rng)
        opened[number] = "closed"

    contest = Contest(rule=rule, margins_pct=margins, in_flight=4, cases=cases)
    found = contest.run(open_pair, rng=rng, read=machine.read, clock=lambda: machine.now_s)
    assert set(opened) == {"closed"}
    return found, len(opened)


def decisions(found):
    return {name: comparison.decision for name, comparison in found.items()}


def test_the_same_program_is_shown_to_be_within_every_margin():
    found, pairs = run()
    assert decisions(found) == dict.fromkeys((P50, P99, THROUGHPUT), "within")
    assert {comparison.unit for comparison in found.values()} == {"process pair"}
    assert all(comparison.pairs == pairs for comparison in found.values())


@pytest.mark.parametrize(
    ("fault", "red"),
    [
        ({"ms": 1.2}, {P50, P99}),
        ({"tail": 1.2}, {P99}),
        ({"sps": 800.0}, {THROUGHPUT}),
    ],
    ids=["median", "tail", "throughput"],
)
@pytest.mark.parametrize("seed", range(5))
def test_a_fault_in_one_figure_is_found_there_and_nowhere_else(fault, red, seed):
    found, _ = run(seed=seed, **fault)
    assert decisions(found) == {name: "regressed" if name in red else "within" for name in (P50, P99, THROUGHPUT)}


def test_ratios_are_worse_when_larger_also_for_throughput():
    found, _ = run(sps=800.0)
    assert found[THROUGHPUT].ratio == pytest.approx(1.25, rel=0.03)
    assert found[P50].ratio == pytest.approx(1.0, rel=0.02)


def test_a_faster_program_is_within():
    found, _ = run(ms=0.8, sps=1200.0)
    assert set(decisions(found).values()) == {"within"}


def test_figures_that_have_no_margin_are_not_judged():
    found, _ = run(margins={P50: 3.0}, tail=1.5)
    assert decisions(found) == {P50: "within"}


def test_the_budget_ends_it_undecided_with_what_could_have_been_seen():
    found, pairs = run(ms=1.03, rule=Rule(max_pairs=12, round_s=1.0, budget_s=3.0))
    assert pairs == 3  # always run
    assert found[P50].decision == "undecided"
    assert found[P50].mde_pct > 3


def test_a_pair_that_never_became_steady_is_repeated():
    found, pairs = run(steady=[False])
    assert set(decisions(found).values()) == {"within"}
    assert pairs == found[P50].pairs + 1
    assert found[P50].disturbances == (
        "1 disturbed round",
        "the candidate's warm-up never became steady (drift +12.0 %)",
    )


@pytest.mark.parametrize(
    ("planted", "cause"),
    [
        ({"steady": [False] * 99}, "the candidate's warm-up never became steady (drift +12.0 %)"),
        ({"foreign": 0.9}, "foreign load 90% of a CPU"),
    ],
)
def test_too_many_disturbed_pairs_end_it_undecided_and_name_the_cause(planted, cause):
    found, pairs = run(ms=2.0, **planted)
    assert pairs == RULE.max_repeats + 1
    assert set(decisions(found).values()) == {"undecided"}
    assert found[P50].disturbances == (f"{pairs} disturbed rounds", cause)


def test_the_error_rate_is_shared_by_figures_and_by_a_large_suite():
    def alphas(cases):
        contest = Contest(rule=RULE, margins_pct=MARGINS_PCT, cases=cases)
        return [evidence.rule.alpha for evidence in contest.evidences().values()]

    assert alphas(1) == alphas(10) == pytest.approx([0.005 / 3] * 3)
    assert alphas(100) == pytest.approx([0.0005 / 3] * 3)


def test_a_margin_is_the_profiles_where_it_names_one():
    tolerance = Tolerance(default_pct=50, per_metric_pct={"live_latency_p99_ms": 25.0, "latency_p50_ms": 40.0})
    assert livepair.margins(tolerance) == {P50: 3.0, P99: 25.0, THROUGHPUT: 5.0}


SPEC = EngineSpec(kind="fake", model=Model(name="m", source="", inputs=""))
BATCHES = BatchSpec(inputs="", batch=1, samples=1)


def info(**changes):
    fields = {"kind": "fake", "device": "gpu:0", "provider": "P", "precision": "fp32", "inputs": (), "outputs": ()}
    return EngineInfo(**{**fields, "artefact": None, **changes})


@pytest.mark.parametrize(
    ("changes", "digest", "message"),
    [
        ({"provider": "Q"}, "abc", "the live reference runs elsewhere, or in another precision, than the case"),
        ({"device": "cpu"}, "abc", "the live reference runs elsewhere, or in another precision, than the case"),
        ({}, "abd", "the live reference is fed other inputs than the case"),
    ],
)
def test_sides_that_do_not_do_the_same_work_are_refused(changes, digest, message):
    candidate = livepair.Candidate(engine=SPEC, batches=BATCHES, info=info(), inputs_digest="abc")
    reference = Reference(name="git:old, commit 123", engine=SPEC, batches=BATCHES)
    livepair._check_same_work(candidate, reference, info(device="gpu:1"), "abc")
    with pytest.raises(ConfigError) as caught:
        livepair._check_same_work(candidate, reference, info(**changes), digest)
    assert caught.value.what == message
    assert "git:old, commit 123" in caught.value.got


def test_another_engine_that_was_asked_for_may_be_of_another_provider_but_not_elsewhere():
    candidate = livepair.Candidate(engine=SPEC, live=SPEC, batches=BATCHES, info=info(), inputs_digest="abc")
    reference = Reference(name="tftrt fp16, python:/old", engine=SPEC, batches=BATCHES)
    livepair._check_same_work(candidate, reference, info(provider="TF-TRT", precision="int8"), "abc")
    with pytest.raises(ConfigError, match="runs elsewhere"):
        livepair._check_same_work(candidate, reference, info(device="cpu"), "abc")
    with pytest.raises(ConfigError, match="is fed other inputs"):
        livepair._check_same_work(candidate, reference, info(), "abd")


def test_a_session_without_an_opponent_has_no_live_pair():
    candidate = livepair.Candidate(engine=SPEC, batches=BATCHES, info=info(), inputs_digest="abc")
    assert livepair.measure(candidate, SimpleNamespace(opponent=None), None, cases=1) is None
