"""Runs of one case in fresh processes become one record: medians and spreads are over processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from pytest_gpuperf import figures
from pytest_gpuperf.evidence import Evidence, Rule
from pytest_gpuperf.records import Comparison, Measured, Metric


def combine(runs: Sequence[Measured], rule: Rule) -> Measured:
    """Return one record for runs of the same case, with every timing's per-process values.

    With several runs a timing's value is the median over processes and its bounds are the extremes; the comparison's
    interval is Student's t over the processes' log-ratios. Accuracy and conditions do not vary; the last run's stand.

    Args:
        runs: one per process pair, at least one.
        rule: how the comparison is decided; it is looked at once, when all runs are made.
    """
    last = runs[-1]
    samples = {name: tuple(_timings(run)[name].value for run in runs) for name in _timings(last) if _in_all(name, runs)}
    if len(runs) == 1:
        return replace(last, samples=samples)
    return replace(
        last,
        steady=next((run.steady for run in runs if not run.steady.is_steady), last.steady),
        metrics={name: _over(last.metrics[name], samples[name]) for name in last.metrics if name in samples},
        comparison=_comparison([run.comparison for run in runs if run.comparison is not None], rule),
        notes=tuple(dict.fromkeys(note for run in runs for note in run.notes)),
        samples=samples,
    )


def _timings(run: Measured) -> dict[str, Metric]:
    ratio = {} if run.comparison is None else {figures.SPEED_RATIO: figures.speed_ratio(run.comparison)}
    return {**run.metrics, **ratio}


def _in_all(name: str, runs: Sequence[Measured]) -> bool:
    return all(name in _timings(run) for run in runs)


def _over(metric: Metric, values: Sequence[float]) -> Metric:
    return replace(metric, value=median(values), lower=min(values), upper=max(values), n=len(values))


def _comparison(comparisons: Sequence[Comparison], rule: Rule) -> Comparison | None:
    if not comparisons:
        return None
    once = replace(rule, min_pairs=len(comparisons), max_pairs=len(comparisons))
    evidence = Evidence(once, comparisons[0].expected, None, "process pair")
    log_ratios = [math.log(comparison.ratio) for comparison in comparisons]
    disturbances = tuple(dict.fromkeys(cause for comparison in comparisons for cause in comparison.disturbances))
    seconds = sum(comparison.seconds for comparison in comparisons)
    return evidence.summary(log_ratios, evidence.decide(log_ratios), seconds, disturbances)
