"""What runs of LoadGen come to: the figures of a served model."""

from __future__ import annotations

from pytest_gpuperf import stats
from pytest_gpuperf.records import Metric, Steady
from pytest_gpuperf.serving.plan import Trial
from pytest_gpuperf.serving.search import Highest

#: Between the halves of a warm-up; more is no steady server.
STEADY_PCT = 25.0
_MIN_HALF = 10


def steady(warm: Trial) -> Steady:
    """Say whether latency still moved between the halves of the warm-up."""
    half = len(warm.latencies_ms) // 2
    if half < _MIN_HALF:
        return Steady(is_steady=False, warmup_runs=2 * half, warmup_s=warm.seconds, drift_pct=0.0)
    first, last = stats.median(warm.latencies_ms[:half]), stats.median(warm.latencies_ms[half:])
    drift = 100 * (last / first - 1)
    return Steady(
        is_steady=abs(drift) <= STEADY_PCT, warmup_runs=len(warm.latencies_ms), warmup_s=warm.seconds, drift_pct=drift
    )


def metrics(
    judged: Trial | None, full: Trial, highest: Highest, trials: tuple[Trial, ...], gain: float | None
) -> dict[str, Metric]:
    """Return the figures of a served model by name."""
    sent = sum(len(trial.latencies_ms) for trial in trials)
    failed = sum(trial.failed for trial in trials)
    lower, upper = stats.clopper_pearson(min(failed, sent), sent)
    found = {
        "throughput_sps": Metric(value=full.sps, unit="sps", n=len(full.latencies_ms), higher="better"),
        "error_rate": Metric(value=failed / sent, unit="fraction", lower=lower, upper=upper, n=sent),
        "max_rate_qps": Metric(
            value=highest.good,
            unit="qps",
            lower=highest.good,
            upper=highest.bad,
            n=len(highest.trials),
            higher="better",
        ),
    }
    if full.counted is not None:
        found["mean_batch"] = Metric(value=full.counted.mean_batch, unit="samples", higher="better")
    if judged is not None and judged.counted is not None:
        found["queue_ms"] = Metric(value=judged.counted.queue_ms, unit="ms", n=judged.counted.requests)
    if gain is not None:
        found["batching_gain"] = Metric(value=gain, unit="x", higher="better")
    for name, q in (("latency_p50_ms", 0.5), ("latency_p99_ms", 0.99)):
        bounds = None if judged is None else stats.percentile_bounds(judged.latencies_ms, q)
        if judged is not None and bounds is not None:
            value = stats.percentile(judged.latencies_ms, q)
            found[name] = Metric(value=value, unit="ms", lower=bounds[0], upper=bounds[1], n=len(judged.latencies_ms))
    return found
