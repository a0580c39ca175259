"""What rounds of measuring prove about a ratio: the rule, the looks, the three-way decision.

Pure arithmetic on log-ratios. Bounds of their centre come from Student's t where there are few, and from Wilcoxon's
signed ranks as soon as there are enough for the error rate: these are exact for any symmetric distribution, and the
log-ratio of two processes of the same program is symmetric, since which of them is the candidate is a coin toss. One
pair in twenty lies far off on a shared machine; it widens Student's interval for good, and moves the ranks' by little.

The error rates of a :class:`Rule` hold however often one looks, see :func:`pytest_gpuperf.stats.looks`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pytest_gpuperf import load, stats
from pytest_gpuperf.records import Comparison

Clock = Literal["host", "device"]
Decision = Literal["regressed", "within", "undecided"]

#: Between-process standard deviation of a latency ratio where no baseline knows better, in percent. Alternating process
#: pairs of eight small workloads on a shared 2-core virtual machine gave 0.6 … 2.0 %; the floor is the upper end.
FLOOR_PCT = 2.0

#: Length of a block where both sides of a pair run on one processor in turn. Another tenant slows it down and lets it
#: go again many times a second: the sooner the sides alternate, the more alike is what both meet. Rounds of a fifth of
#: a second differed by 0.9 % with such blocks and by 1.8 % with blocks of 20 ms (eight small workloads, scaled median
#: absolute deviation, geometric mean).
SHARED_BLOCK_S = 0.005

#: Chance that a suite of unchanged programs is called regressed anywhere; each case has its share, 0.5 % at most.
SUITE_ALPHA = 0.05

#: Logarithm of the largest ratio that is reported; two rounds that differ wildly have no finite bound worth printing.
_LARGEST = math.log(1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """How much the log-ratio differs from one process pair to the next, in percent.

    Attributes:
        spread_pct: standard deviation between process pairs.
        processes: fresh process pairs that ``spread_pct`` was estimated from; ``None`` for a number taken as known.
    """

    spread_pct: float = FLOOR_PCT
    processes: int | None = None

    def half_width(self, alpha: float) -> float:
        """Return the one-sided bound of this pair's offset from the baseline's mean; a prediction interval."""
        sd = self.spread_pct / 100
        if self.processes is None:
            return stats.t_quantile(1 - alpha, math.inf) * sd
        return stats.t_quantile(1 - alpha, self.processes - 1) * sd * math.sqrt(1 + 1 / self.processes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a comparison is run and decided.

    Attributes:
        margin_pct: slowdown that is still no regression.
        alpha: chance of calling a candidate regressed that is exactly at the margin (less where it is faster).
        miss: chance of calling a candidate within that is exactly at the margin.
        min_pairs: rounds before the first look; always run, whatever the time.
        max_pairs: rounds after which it stays undecided.
        budget_s: time after which no further round begins.
        overtime: how many times that long an undecided comparison may last; decided ones never need it.
        round_s: length of a round; it has at least one block pair.
        block_s: length of a block; it has at least one call.
        max_calls: calls in a block at most.
        max_repeats: disturbed rounds that are repeated.
        clock: whose timing of the calls counts.
        cores: processors that the block pairs run on in turn; by default, wherever the system puts each side.
        limits: what disturbs a round.
    """

    margin_pct: float = 1.0
    alpha: float = 0.005
    miss: float = 0.025
    min_pairs: int = 3
    max_pairs: int = 12
    budget_s: float = 10.0
    overtime: float = 1.0
    round_s: float = 0.5
    block_s: float = 0.02
    max_calls: int = 1000
    max_repeats: int = 4
    clock: Clock = "host"
    cores: tuple[int, ...] = ()
    limits: load.Limits = field(default_factory=load.Limits)

    def __post_init__(self) -> None:
        if not 2 <= self.min_pairs <= self.max_pairs:  # noqa: PLR2004 - a spread needs two
            raise ValueError(f"need 2 <= min_pairs <= max_pairs, got {self.min_pairs}, {self.max_pairs}")
        if self.max_repeats < 1:
            raise ValueError(f"need max_repeats >= 1, got {self.max_repeats}")

    def fitted(self, pair_s: float) -> Rule:
        """Return the rule with no more looks than rounds fit into the time, since planned looks cost error rate.

        Args:
            pair_s: seconds of one call of each side together; a round has at least that.
        """
        rounds = int(self.budget_s * self.overtime / max(self.round_s, pair_s))
        return replace(self, max_pairs=min(self.max_pairs, max(self.min_pairs + 1, rounds)))

    def within_suite(self, cases: int) -> Rule:
        """Return the rule for one of ``cases`` whose joint chance of a false alarm is :data:`SUITE_ALPHA` at most."""
        return replace(self, alpha=min(self.alpha, SUITE_ALPHA / max(1, cases)))

    def shared_by(self, cases: int) -> Rule:
        """Return the rule for one of ``cases`` whose joint chance of a false alarm is to stay at ``alpha``.

        This is Holm's first step, taken before anything is measured: each verdict falls within its own test.
        """
        return replace(self, alpha=self.alpha / max(1, cases))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What can be said after a number of rounds."""

    rule: Rule
    expected: float
    between: Between | None
    unit: Literal["block pair", "process pair"]

    def decide(self, log_ratios: Sequence[float], *, is_last: bool = False) -> Decision:
        """Compare one-sided bounds of the log-ratios' centre with the margin, if a look is due.

        Args:
            log_ratios: of all rounds so far.
            is_last: no round follows; the next planned look is then made now.
        """
        n = len(log_ratios)
        if n < self.rule.min_pairs or not (is_last or n in self._looks):
            return "undecided"
        if self._bounds(log_ratios, self.rule.alpha)[0] > self._limit():
            return "regressed"
        if self._bounds(log_ratios, self.rule.miss)[1] <= self._limit():
            return "within"
        return "undecided"

    def summary(
        self, log_ratios: Sequence[float], decision: Decision, seconds: float, disturbances: tuple[str, ...]
    ) -> Comparison:
        """Return the comparison with 95 % bounds that hold at every look, and what could have been seen."""
        centre = stats.median(stats.walsh_averages(log_ratios))
        lower, upper = self._bounds(log_ratios, 0.025)
        power = stats.t_quantile(0.8, len(log_ratios) - 1)
        error = stats.standard_deviation(log_ratios) / math.sqrt(len(log_ratios))
        seen = centre - self._bounds(log_ratios, self.rule.alpha)[0]
        shift = math.log1p(self.rule.margin_pct / 100) + seen + power * error
        return Comparison(
            ratio=math.exp(centre),
            lower=math.exp(min(lower, centre)),
            upper=math.exp(min(max(upper, centre), _LARGEST)),
            pairs=len(log_ratios),
            unit=self.unit,
            mde_pct=100 * math.expm1(min(shift, _LARGEST)),
            seconds=seconds,
            disturbances=disturbances,
            decision=decision,
            expected=self.expected,
            margin_pct=self.rule.margin_pct,
            p=self._p_value(log_ratios),
        )

    def _limit(self) -> float:
        return math.log(self.expected) + math.log1p(self.rule.margin_pct / 100)

    @property
    def _looks(self) -> tuple[int, ...]:
        return stats.looks(self.rule.min_pairs, self.rule.max_pairs)

    def _bounds(self, log_ratios: Sequence[float], alpha: float) -> tuple[float, float]:
        """Return lower and upper bound of the centre, each wrong with ``alpha`` over all looks together.

        Half of ``alpha`` is for the spread between processes, where rounds are not of fresh ones.
        """
        n = len(log_ratios)
        rate = alpha / len(self._looks) * (1 if self.between is None else 0.5)
        widened = 0 if self.between is None else self.between.half_width(alpha / 2)
        depth = stats.signed_rank_depth(n, rate)
        if depth:
            averages = stats.walsh_averages(log_ratios)
            return averages[depth - 1] - widened, averages[-depth] + widened
        mean = stats.mean(log_ratios)
        half = stats.t_quantile(1 - rate, n - 1) * stats.standard_deviation(log_ratios) / math.sqrt(n)
        return mean - half - widened, mean + half + widened

    def _p_value(self, log_ratios: Sequence[float]) -> float:
        """Return the smallest ``alpha`` at which some look so far would have said ``regressed``, by bisection."""
        looks = [log_ratios[:n] for n in self._looks if n < len(log_ratios)] + [log_ratios]
        low, high = -40.0, 0.0  # natural logarithms
        while high - low > 1e-3:  # noqa: PLR2004 - a thousandth of p
            middle = (low + high) / 2
            if any(self._bounds(values, math.exp(middle))[0] > self._limit() for values in looks):
                high = middle
            else:
                low = middle
        return math.exp(high)
