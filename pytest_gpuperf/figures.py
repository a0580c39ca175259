"""Every number of a case by its name, as budgets, baselines and reports speak of it."""

from __future__ import annotations

from pytest_gpuperf.records import AccuracyDelta, Comparison, Measured, Metric, Physics
from pytest_gpuperf.records.sample import Higher

#: Accuracy figures: unit and which direction is better. They hold on any machine.
ACCURACY: dict[str, tuple[str, Higher]] = {
    "top1": ("fraction", "better"),
    "top1_loss": ("fraction", "worse"),
    "top1_agreement": ("fraction", "better"),
    "rmse": ("1", "worse"),
    "rel_rmse": ("1", "worse"),
    "max_abs": ("1", "worse"),
    "cosine": ("1", "better"),
    "sqnr_db": ("dB", "better"),
}
SPEED_RATIO = "speed_ratio"
#: Of the GPU's peak, and of the best published throughput of the card.
SHARES = ("mfu_pct", "best_pct")


def of(measured: Measured) -> dict[str, Metric]:
    """Return all figures of a case: timings and memory, accuracy, and the speed ratio to the reference."""
    figures = dict(measured.metrics)
    if measured.accuracy is not None:
        figures |= accuracy(measured.accuracy)
        if measured.accuracy.classes is not None:
            classes = measured.accuracy.classes
            figures["reference_classes"] = Metric(value=classes, unit="1", n=measured.accuracy.samples, higher="better")
    if measured.comparison is not None:
        figures[SPEED_RATIO] = speed_ratio(measured.comparison)
    # No part of a baseline: a process that has served other cases keeps memory of theirs. Budgets bound it.
    memory = measured.telemetry.get("worker_peak_mib")
    if memory is not None:
        figures["memory_mib"] = Metric(value=memory, unit="mib")
    return figures


def accuracy(delta: AccuracyDelta) -> dict[str, Metric]:
    """Return the accuracy figures that apply; ``top1_loss`` is what the reference gets right beyond the candidate."""
    figures = {}
    for name, (unit, higher) in ACCURACY.items():
        value = _loss(delta) if name == "top1_loss" else getattr(delta, name)
        if value is not None:
            figures[name] = Metric(value=value, unit=unit, n=delta.samples, higher=higher)
    return figures


def speed_ratio(comparison: Comparison) -> Metric:
    """Return how many times as fast as the reference the candidate is: the reference's latency over the candidate's."""
    return Metric(
        value=1 / comparison.ratio,
        unit="x",
        lower=1 / comparison.upper,
        upper=1 / comparison.lower,
        n=comparison.pairs,
        higher="better",
    )


def shares(physics: Physics | None) -> dict[str, Metric]:
    """Return what share of the GPU's peak and of the best published throughput a case reaches, where that is known."""
    found = {name: getattr(physics, name, None) for name in SHARES}
    return {name: Metric(value=pct, unit="pct", higher="better") for name, pct in found.items() if pct is not None}


def _loss(delta: AccuracyDelta) -> float | None:
    if delta.top1 is None or delta.reference_top1 is None:
        return None
    return delta.reference_top1 - delta.top1
