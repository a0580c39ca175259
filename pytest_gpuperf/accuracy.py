"""Outputs against reference outputs, and against labels where there are any.

The worst output tensor counts. Numbers that are not finite are named and kept out of the distances, so that one NaN
does not hide how far off the rest is; a row that holds one counts as a wrong answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_gpuperf import stats
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import AccuracyDelta

Array = NDArray[np.generic]
_NO_LOGITS = "pooled"


class _Distance(NamedTuple):
    """How far one output tensor is from the reference's; ``sqnr_db`` is infinite where they are equal."""

    rmse: float
    rel_rmse: float
    max_abs: float
    cosine: float
    sqnr_db: float


class _Top1(NamedTuple):
    """Answers of both sides, one per sample."""

    agreement: float
    classes: int
    right: NDArray[np.bool_] | None
    reference_right: NDArray[np.bool_] | None


def compare(outputs: Mapping[str, Array], reference: Mapping[str, Array], labels: Array | None = None) -> AccuracyDelta:
    """Compare outputs with the reference's, tensor by tensor.

    Top-1 is taken from the logits: the output named ``logits``, else the only two-dimensional output with more than one
    column whose name does not contain ``pooled`` (a pooled embedding has columns, but they are no classes).

    Args:
        outputs: by name, each ``(samples, …)``.
        reference: same names and shapes.
        labels: right class of each sample, ``(samples,)``, or ``None``.

    Raises:
        ConfigError: names, shapes or the number of labels do not fit, or there are labels and no logits.
    """
    _check(outputs, reference, labels)
    distances = [_distance(outputs[name], reference[name]) for name in sorted(outputs)]
    logits = _logits_name(outputs)
    if logits is None and labels is not None:
        raise ConfigError(
            "labels were given, but no output holds logits",
            got=", ".join(f"{name} {array.shape}" for name, array in sorted(outputs.items())),
            expected="an output named 'logits', or exactly one (samples, classes) output",
        )
    top1 = None if logits is None else _top1(outputs[logits], reference[logits], labels)
    sqnr_db = min(distance.sqnr_db for distance in distances)
    return AccuracyDelta(
        samples=len(next(iter(outputs.values()))),
        rmse=max(distance.rmse for distance in distances),
        rel_rmse=max(distance.rel_rmse for distance in distances),
        max_abs=max(distance.max_abs for distance in distances),
        cosine=min(distance.cosine for distance in distances),
        sqnr_db=sqnr_db if np.isfinite(sqnr_db) else None,
        nonfinite=_nonfinite(outputs, "") + _nonfinite(reference, "reference "),
        **({} if top1 is None else _answers(top1)),  # type: ignore[arg-type]
    )


def _answers(top1: _Top1) -> dict[str, float | int | None]:
    """Return the fields of :class:`AccuracyDelta` that come from top-1 answers."""
    fields: dict[str, float | int | None] = {"top1_agreement": top1.agreement, "classes": top1.classes}
    if top1.right is not None and top1.reference_right is not None:
        fields["top1"] = float(top1.right.mean())
        fields["reference_top1"] = float(top1.reference_right.mean())
        fields["mcnemar_p"] = stats.mcnemar(
            int((top1.right & ~top1.reference_right).sum()), int((top1.reference_right & ~top1.right).sum())
        )
    return fields


def _check(outputs: Mapping[str, Array], reference: Mapping[str, Array], labels: Array | None) -> None:
    if not outputs or outputs.keys() != reference.keys():
        raise ConfigError(
            "outputs and reference have different names",
            got=", ".join(sorted(outputs)) or "no outputs",
            expected=", ".join(sorted(reference)) or "at least one output",
        )
    for name, array in sorted(outputs.items()):
        if array.shape != reference[name].shape:
            raise ConfigError(
                f"output {name!r} has another shape than the reference's",
                got=str(array.shape),
                expected=str(reference[name].shape),
            )
        if array.size == 0:
            raise ConfigError(f"output {name!r} is empty", got=str(array.shape), expected="at least one sample")
    samples = len(next(iter(outputs.values())))
    if labels is not None and labels.shape != (samples,):
        raise ConfigError("labels do not fit the outputs", got=str(labels.shape), expected=f"({samples},)")


def _nonfinite(arrays: Mapping[str, Array], side: str) -> tuple[str, ...]:
    """Name each tensor that holds NaN or infinity, with the counts and the first index of either."""
    named = []
    for name, array in sorted(arrays.items()):
        if not np.issubdtype(array.dtype, np.inexact):
            continue
        bad = ~np.isfinite(array)
        if not bad.any():
            continue
        nans = int(np.isnan(array).sum())
        counts = [f"{count} {what}" for count, what in ((nans, "NaN"), (int(bad.sum()) - nans, "Inf")) if count]
        first = ", ".join(str(index) for index in np.unravel_index(int(bad.argmax()), bad.shape))
        named.append(f"{side}{name}: {' and '.join(counts)} of {array.size}, first at [{first}]")
    return tuple(named)


def _distance(output: Array, reference: Array) -> _Distance:
    """Compare two tensors in float64 where both are finite."""
    got, want = output.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    finite = np.isfinite(got) & np.isfinite(want)
    if not finite.all():
        got, want = got[finite], want[finite]
    if got.size == 0:
        return _Distance(0.0, 0.0, 0.0, 0.0, np.inf)
    error = got - want
    noise, signal = float(np.mean(error**2)), float(np.mean(want**2))
    norms = float(np.linalg.norm(got) * np.linalg.norm(want))
    return _Distance(
        rmse=noise**0.5,
        # Against a reference of zeros any error is all of the signal.
        rel_rmse=(noise / signal) ** 0.5 if signal else float(noise > 0),
        max_abs=float(np.abs(error).max()),
        cosine=float(np.clip(np.dot(got, want) / norms, -1, 1)) if norms else float(noise == 0),
        sqnr_db=10 * float(np.log10(signal / noise)) if noise and signal else (-np.inf if noise else np.inf),
    )


def _logits_name(outputs: Mapping[str, Array]) -> str | None:
    if "logits" in outputs:
        return "logits"
    names = [
        name
        for name, array in outputs.items()
        if array.ndim == 2 and array.shape[1] > 1 and _NO_LOGITS not in name  # noqa: PLR2004 - (samples, classes)
    ]
    return names[0] if len(names) == 1 else None


def _top1(logits: Array, reference: Array, labels: Array | None) -> _Top1:
    valid = np.isfinite(logits).all(axis=1)
    answer, reference_answer = logits.argmax(axis=1), reference.argmax(axis=1)
    return _Top1(
        agreement=float((valid & (answer == reference_answer)).mean()),
        classes=len(np.unique(reference_answer)),
        right=None if labels is None else valid & (answer == labels),
        reference_right=None if labels is None else reference_answer == labels,
    )
