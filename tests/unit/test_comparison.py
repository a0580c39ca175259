"""Comparisons of scripted processes: the decision, its error rates, what outliers and disturbances do to it."""

import math
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf import stats
from pytest_gpuperf.comparison import Between, Rule, alternate, compare, compare_processes
from pytest_gpuperf.evidence import Evidence
from pytest_gpuperf.load import Reading
from pytest_gpuperf.records import Block

RULE = Rule(margin_pct=3.0)


class Machine:
    """A clock that only measuring moves, and a script of what disturbs each round."""

    def __init__(self, foreign=()):
        self.now_s = 0.0
        self.busy_ns = 0
        self.foreign = dict(enumerate(foreign))
        self.rounds = 0
        self.measured = False

    def read(self):
        return Reading(wall_ns=round(self.now_s * 1e9), busy_ns=round(self.busy_ns))

    def clock(self):
        return self.now_s

    def spend(self, seconds, share=0.0):
        self.now_s += seconds
        self.busy_ns += seconds * 1e9 * (1 + share)


class Side:
    """A process whose calls take ``call_ms`` with some noise."""

    def __init__(self, machine, call_ms, rng, *, noise=0.01, share=0.0, log=None):
        self.machine, self.call_ms, self.rng = machine, call_ms, rng
        self.noise, self.share, self.log = noise, share, log

    def measure(self, *, seconds, max_calls, core=None):
        self.machine.spend(seconds, self.share)
        if self.log is not None:
            self.log.append(self)
        calls = tuple(round(1e6 * self.call_ms * (1 + self.rng.gauss(0, self.noise))) for _ in range(min(max_calls, 5)))
        return Block(host_ns=calls, device_ns=tuple(2 * ns for ns in calls), cpu_ns=round(seconds * 1e9))


def pair(ratio=1.0, *, seed=0, rule=RULE, noise=0.01, expected=1.0, between=None, shares=0.0):
    machine, rng = Machine(), Random(seed)
    sides = [Side(machine, ms, rng, noise=noise, share=shares) for ms in (2 * ratio, 2)]
    return compare(
        *sides, rule=rule, rng=rng, expected=expected, between=between, read=machine.read, clock=machine.clock
    )


def processes(ratios, *, rule=RULE, seed=0, shares=(), noise=0.001):
    """Compare process pairs whose true ratios, and foreign loads, are given one by one."""
    machine, rng = Machine(), Random(seed)
    opened = []

    @contextmanager
    def open_pair():
        number = len(opened)
        opened.append("open")
        share = shares[number] if number < len(shares) else 0.0
        yield tuple(Side(machine, ms, rng, noise=noise, share=share) for ms in (2 * ratios[number % len(ratios)], 2.0))
        opened[number] = "closed"

    result = compare_processes(open_pair, rule=rule, rng=rng, read=machine.read, clock=machine.clock)
    assert set(opened) == {"closed"}
    return result.comparison, len(opened)


def spread(ratio, sd, n=40, seed=0):
    rng = Random(seed)
    return [ratio * math.exp(rng.gauss(0, sd)) for _ in range(n)]


def test_no_change_is_shown_to_be_within_the_margin():
    comparison, opened = processes(spread(1.0, 0.005))
    assert comparison.decision == "within"
    assert comparison.unit == "process pair"
    assert comparison.pairs == opened <= 6
    assert comparison.lower < 1 < comparison.upper <= 1.03
    assert comparison.seconds < RULE.budget_s
    assert comparison.p > 0.5


@pytest.mark.parametrize("slower", [1.06, 1.1, 2.0])
def test_a_slowdown_is_regressed(slower):
    comparison, opened = processes(spread(slower, 0.005))
    assert comparison.decision == "regressed"
    assert opened < RULE.max_pairs
    assert comparison.lower > 1.03
    assert comparison.p <= RULE.alpha
    assert comparison.ratio == pytest.approx(slower, rel=0.01)


def test_a_slowdown_at_the_margin_stays_undecided_until_the_last_pair():
    comparison, opened = processes(spread(1.03, 0.005), rule=Rule(margin_pct=3.0, max_pairs=6))
    assert comparison.decision == "undecided"
    assert opened == 6
    assert comparison.lower < 1.03 < comparison.upper
    assert comparison.mde_pct > 3


def test_the_time_budget_ends_it_after_the_pairs_that_are_always_run():
    comparison, opened = processes(spread(1.03, 0.01), rule=Rule(margin_pct=3.0, budget_s=0.1))
    assert (comparison.decision, opened) == ("undecided", RULE.min_pairs)


def test_looks_begin_after_min_pairs_and_stop_as_soon_as_decided():
    _, opened = processes([1.0], noise=0, rule=Rule(margin_pct=3.0, min_pairs=4))
    assert opened == 4


def test_a_look_is_due_after_half_as_many_rounds_again():
    evidence = Evidence(Rule(margin_pct=3.0, min_pairs=3, max_pairs=8), 1.0, None, "process pair")
    found = {n: evidence.decide([0.0] * n) for n in range(2, 9)}
    assert found == {n: "within" if n in (3, 5, 8) else "undecided" for n in range(2, 9)}
    assert evidence.decide([0.0] * 4, is_last=True) == "within"
    assert evidence.decide([0.0] * 2, is_last=True) == "undecided"


@pytest.mark.parametrize(("budget_s", "opened", "decision"), [(1.5, 3, "undecided"), (2.0, 4, "regressed")])
def test_when_the_time_is_up_what_is_there_is_looked_at(budget_s, opened, decision):
    """Planned looks are after 3 and 5 rounds; the one after 4 comes early."""
    rule = Rule(margin_pct=1.0, min_pairs=3, max_pairs=12, budget_s=budget_s, round_s=0.5)
    comparison, pairs = processes([1.05, 1.06, 1.05, 1.055], rule=rule, noise=0)
    assert (pairs, comparison.pairs, comparison.decision) == (opened, opened, decision)


def test_with_enough_rounds_the_interval_is_of_signed_ranks():
    rule = Rule(margin_pct=50, min_pairs=12, max_pairs=12)
    ratios = [1.0 + step / 1000 for step in (3, -5, 8, 1, -2, 7, 4, -9, 6, 10, -11, 12)]
    comparison, _ = processes(ratios, rule=rule, noise=0)
    averages = stats.walsh_averages([math.log(ratio) for ratio in ratios])
    assert (comparison.lower, comparison.upper) == pytest.approx(
        (math.exp(averages[13]), math.exp(averages[-14])), rel=1e-5
    )  # the critical value of 12 ranks at 2.5 % is 13
    assert comparison.ratio == pytest.approx(math.exp(stats.median(averages)), rel=1e-5)


def test_one_round_that_lies_far_off_does_not_hide_a_slowdown():
    evidence = Evidence(Rule(margin_pct=1.0, min_pairs=12, max_pairs=12), 1.0, None, "process pair")
    steady = [0.03 + step / 10_000 for step in range(11)]
    assert evidence.decide([*steady, 0.5]) == evidence.decide([*steady, 0.03]) == "regressed"
    mean, lower, _ = stats.mean_interval([*steady, 0.5], 1 - 2 * evidence.rule.alpha)
    assert lower < math.log(1.01) < mean  # Student's would have said nothing


def test_the_interval_is_students_over_few_process_pairs():
    rule = Rule(margin_pct=50, min_pairs=4, max_pairs=4)
    comparison, _ = processes([1.0, 1.02, 1.04, 1.01], rule=rule, noise=0)
    logs = [math.log(ratio) for ratio in (1.0, 1.02, 1.04, 1.01)]
    mean, lower, upper = stats.mean_interval(logs)
    assert (comparison.ratio, comparison.lower, comparison.upper) == pytest.approx(
        (math.exp(mean), math.exp(lower), math.exp(upper)), rel=1e-5
    )


def test_p_is_the_alpha_at_which_the_last_look_would_just_have_decided():
    rule = Rule(margin_pct=1, min_pairs=4, max_pairs=4, alpha=1e-9)
    comparison, _ = processes([1.03, 1.02, 1.04, 1.01], rule=rule, noise=0)
    logs = [math.log(ratio) for ratio in (1.03, 1.02, 1.04, 1.01)]
    t = (stats.mean(logs) - math.log(1.01)) / (stats.standard_deviation(logs) / 2)
    assert comparison.p == pytest.approx(stats.t_tail(t, 3), rel=2e-3)


def test_block_pairs_are_widened_by_the_spread_between_processes():
    narrow = pair(rule=Rule(margin_pct=20), between=Between(spread_pct=0.0)).comparison
    floor = pair(rule=Rule(margin_pct=20)).comparison
    known = pair(rule=Rule(margin_pct=20), between=Between(spread_pct=2.0, processes=5)).comparison
    assert narrow.unit == floor.unit == "block pair"
    width = [math.log(each.upper) - math.log(each.ratio) for each in (narrow, floor, known)]
    assert width[1] - width[0] == pytest.approx(0.02 * 2.2414, rel=1e-3)
    assert width[2] - width[0] == pytest.approx(0.02 * 3.4954 * math.sqrt(1.2), rel=1e-3)


def test_block_pairs_cannot_show_what_is_less_than_the_spread_between_processes():
    assert pair(1.06, noise=0.001).comparison.decision == "undecided"
    assert pair(1.15, noise=0.001).comparison.decision == "regressed"


def test_expected_moves_what_no_change_means():
    rule = Rule(margin_pct=15)
    assert pair(0.5, rule=rule, expected=0.5).comparison.decision == "within"
    slower = pair(1.0, rule=rule, expected=0.5).comparison
    assert (slower.decision, slower.expected, slower.margin_pct) == ("regressed", 0.5, 15)


def test_blocks_alternate_in_random_order_and_come_back():
    machine, log = Machine(), []
    sides = [Side(machine, 2, Random(1), log=log) for _ in range(2)]
    result = compare(*sides, rule=Rule(margin_pct=20), rng=Random(3), read=machine.read, clock=machine.clock)
    firsts = log[::2]
    assert all({a, b} == set(sides) for a, b in zip(log[::2], log[1::2], strict=True))
    assert 0.2 < firsts.count(sides[0]) / len(firsts) < 0.8
    assert len(result.candidate) == len(result.reference) == len(log) // 2
    assert len(log) // 2 == 13 * result.comparison.pairs  # 13 pairs of twice 20 ms fill half a second


def test_a_round_has_one_block_pair_however_slow_the_calls():
    machine = Machine()
    sides = [Side(machine, 2, Random(1)) for _ in range(2)]
    rule = Rule(margin_pct=20, block_s=30)
    result = compare(*sides, rule=rule, rng=Random(3), read=machine.read, clock=machine.clock)
    assert len(result.candidate) == rule.min_pairs == result.comparison.pairs


@pytest.mark.parametrize(("cores", "asked"), [((), [None] * 3), ((4, 7), [4, 7, 4])])
def test_both_blocks_of_a_pair_run_on_the_same_core_and_the_next_on_the_next(cores, asked):
    found = []

    class Placed(Side):
        def measure(self, *, seconds, max_calls, core=None):
            found.append((self, core))
            return super().measure(seconds=seconds, max_calls=max_calls)

    machine = Machine()
    sides = [Placed(machine, 2, Random(1)) for _ in range(2)]
    rule = Rule(block_s=0.1, round_s=0.6, cores=cores)
    alternate(*sides, rule, Random(3), machine.read)
    for side in sides:
        assert [core for who, core in found if who is side] == asked
    assert [core for _, core in found] == [core for core in asked for _ in sides]


def test_the_device_clock_is_used_when_asked_for():
    class Device(Side):
        def measure(self, *, seconds, max_calls, core=None):
            block = super().measure(seconds=seconds, max_calls=max_calls)
            return Block(host_ns=(5,), device_ns=block.device_ns)

    machine = Machine()
    sides = [Device(machine, ms, Random(1)) for ms in (3, 2)]
    rule = Rule(margin_pct=20, clock="device")
    comparison = compare(*sides, rule=rule, rng=Random(3), read=machine.read, clock=machine.clock).comparison
    assert comparison.ratio == pytest.approx(1.5, rel=0.01)


@given(st.floats(1e-4, 5), st.integers(0, 11), st.integers(0, 20))
def test_one_outlying_pair_never_makes_a_regression(size, where, seed):
    ratios = spread(1.0, 0.0, n=12, seed=seed)
    ratios[where] *= 1 + size
    comparison, _ = processes(ratios, noise=0, rule=Rule(margin_pct=1))
    assert comparison.decision != "regressed"


def test_an_outlying_block_within_a_round_changes_nothing():
    class Hiccup(Side):
        def measure(self, *, seconds, max_calls, core=None):
            block = super().measure(seconds=seconds, max_calls=max_calls)
            return block if self.rng.random() > 0.2 else Block(host_ns=tuple(9 * ns for ns in block.host_ns))

    machine, rng = Machine(), Random(5)
    result = compare(
        Hiccup(machine, 2, rng),
        Side(machine, 2, rng),
        rule=Rule(margin_pct=20),
        rng=rng,
        read=machine.read,
        clock=machine.clock,
    )
    assert result.comparison.ratio == pytest.approx(1, abs=0.02)


def test_disturbed_pairs_are_repeated_and_named():
    comparison, opened = processes(spread(1.0, 0.005), shares=(0.0, 0.9, 0.4))
    assert comparison.decision == "within"
    assert comparison.pairs == opened - 2
    assert comparison.disturbances == ("2 disturbed rounds", "foreign load 40% of a CPU")


def test_one_disturbed_round_is_worded_as_one():
    comparison, _ = processes(spread(1.0, 0.005), shares=(0.9,))
    assert comparison.disturbances[0] == "1 disturbed round"


def test_a_machine_that_is_never_quiet_gets_no_decision():
    comparison, opened = processes(spread(2.0, 0.005), shares=(0.9,) * 40)
    assert comparison.decision == "undecided"
    assert opened == RULE.max_repeats + 1 == comparison.pairs
    assert comparison.disturbances == ("5 disturbed rounds", "foreign load 90% of a CPU")
    assert comparison.ratio == pytest.approx(2, rel=0.02)


def test_disturbed_rounds_get_their_time_once_more_and_no_longer():
    rule = Rule(margin_pct=3.0, budget_s=1.2, max_repeats=100)
    _, repeated = processes([1.0], noise=0, shares=(0.9, 0.9), rule=rule)
    comparison, opened = processes([1.0], noise=0, shares=(0.9,) * 40, rule=rule)
    assert repeated == 2 + rule.min_pairs
    assert (comparison.decision, opened) == ("undecided", 5)  # the fifth round of 0.5 s is the first to end after 2.4 s


def test_disturbance_after_two_clean_rounds_keeps_only_the_clean():
    comparison, _ = processes([1.0, 1.0, 7.0], shares=(0, 0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9))
    assert comparison.decision == "undecided"
    assert comparison.pairs == 2
    assert comparison.ratio == pytest.approx(1, rel=0.01)


def test_bad_rules_are_refused():
    with pytest.raises(ValueError, match="need 2 <= min_pairs <= max_pairs, got 1, 12"):
        Rule(min_pairs=1)
    with pytest.raises(ValueError, match="need 2 <= min_pairs <= max_pairs, got 5, 4"):
        Rule(min_pairs=5, max_pairs=4)
    with pytest.raises(ValueError, match="need max_repeats >= 1, got 0"):
        Rule(max_repeats=0)


def test_a_suite_shares_the_error_rate():
    assert Rule(alpha=0.05).shared_by(8).alpha == pytest.approx(0.00625)
    assert Rule(alpha=0.05).shared_by(0).alpha == 0.05


@pytest.mark.parametrize("direction", ["regressed", "within"])
def test_error_rates_hold_under_a_look_after_every_pair(direction):
    """The true ratio is exactly at the margin; rates are high so that few replays show them."""
    rule = Rule(margin_pct=1, alpha=0.1, miss=0.1)
    evidence = Evidence(rule, 1.0, None, "process pair")
    rng = Random(11)
    wrong = 0
    for _ in range(600):
        logs = []
        while len(logs) < rule.max_pairs:
            logs.append(rng.gauss(math.log(1.01), 0.02))
            if (decision := evidence.decide(logs)) != "undecided":
                wrong += decision == direction
                break
    assert 0 < wrong <= 0.1 * 600


@pytest.mark.parametrize(
    ("pair_s", "rounds"),
    [
        (0.001, 12),  # as many as planned: a fast call does not shorten a round
        (1.0, 10),
        (4.0, 4),  # one look after the first at least
    ],
)
def test_slow_calls_get_as_many_looks_as_fit_into_the_time(pair_s: float, rounds: int):
    assert Rule(budget_s=10.0, round_s=0.5, min_pairs=3, max_pairs=12).fitted(pair_s).max_pairs == rounds
    assert Rule(budget_s=5.0, overtime=2.0, round_s=0.5, min_pairs=3, max_pairs=12).fitted(pair_s).max_pairs == rounds


def test_seconds_are_those_since_the_start_whatever_the_clock_shows():
    machine, rng = Machine(), Random(0)
    machine.now_s = 1000.0
    result = compare(*(Side(machine, 2, rng) for _ in range(2)), rule=Rule(margin_pct=20), rng=rng, read=machine.read,
                     clock=machine.clock)  # fmt: skip
    assert result.comparison.decision == "within"
    assert result.comparison.expected == 1.0
    assert result.comparison.seconds == pytest.approx(machine.now_s - 1000)


def test_the_blocks_of_each_side_are_its_own_and_so_is_its_load():
    machine, rng = Machine(), Random(0)
    slow, fast = Side(machine, 3, rng, noise=0), Side(machine, 2, rng, noise=0)
    # The candidate alone keeps the CPUs busy: what it uses is no foreign load.
    fast.measure = lambda *, seconds, max_calls, core: machine.spend(seconds, -1) or Block(host_ns=(2_000_000,))
    result = compare(slow, fast, rule=RULE, rng=rng, read=machine.read, clock=machine.clock)
    assert {ns for block in result.candidate for ns in block.host_ns} == {3_000_000}
    assert {ns for block in result.reference for ns in block.host_ns} == {2_000_000}
    assert len(result.candidate) == len(result.reference)
    assert result.comparison.disturbances == ()
    assert result.comparison.ratio == pytest.approx(1.5)


def test_a_clock_that_reads_zero_counts_as_half_a_tick():
    machine, rng = Machine(), Random(0)
    zero, one = Side(machine, 0, rng), Side(machine, 1e-6, rng, noise=0)
    for sides, ratio in (((zero, one), 0.5), ((one, zero), 2.0)):
        result = compare(*sides, rule=RULE, rng=rng, read=machine.read, clock=machine.clock)
        assert result.comparison.ratio == pytest.approx(ratio)


def test_enough_clean_rounds_end_with_the_budget_although_others_were_disturbed():
    rule = Rule(margin_pct=3.0, min_pairs=3, max_pairs=12, budget_s=2.0, round_s=0.5, max_repeats=4)
    spreading = [1.0, 1.06, 1.0, 1.06, 1.0, 1.06, 1.0, 1.06]
    comparison, opened = processes(spreading, rule=rule, shares=(0, 0, 0, 1.0))
    assert comparison.decision == "undecided"
    assert (opened, comparison.pairs) == (4, 3)
    assert comparison.disturbances[0] == "1 disturbed round"


@pytest.mark.parametrize(("overtime", "opened"), [(1.0, 4), (2.0, 8), (9.0, 12)])
def test_an_undecided_comparison_gets_overtime_up_to_the_planned_rounds(overtime, opened):
    rule = Rule(margin_pct=3.0, min_pairs=3, max_pairs=12, budget_s=2.0, round_s=0.5, overtime=overtime)
    assert processes([1.0, 1.06] * 8, rule=rule)[1] == opened


def test_a_decided_comparison_needs_no_overtime():
    rule = Rule(margin_pct=3.0, budget_s=0.1, overtime=9.0)
    assert processes(spread(1.0, 0.001), rule=rule)[1] == rule.min_pairs


@pytest.mark.parametrize(("cases", "alpha"), [(1, 0.005), (10, 0.005), (50, 0.001)])
def test_cases_of_a_suite_share_its_chance_of_a_false_alarm(cases, alpha):
    assert Rule().within_suite(cases).alpha == pytest.approx(alpha)
