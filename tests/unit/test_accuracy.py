"""Accuracy: exact small cases, properties, and planted faults that a budget must see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf import accuracy, budgets, figures
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Budget, Status

RNG = np.random.default_rng(7)
LOGITS = RNG.normal(size=(64, 100)).astype(np.float32)
TOKENS = RNG.normal(size=(8, 16, 12)).astype(np.float32)
STRICT = Budget(min_top1_agreement=0.99, max_output_rel_rmse=0.02, min_output_cosine=0.999)


def broken(delta, budget=STRICT):
    """Return the figures whose bounds a delta breaks."""
    return [f.metric for f in budgets.findings(figures.accuracy(delta), budget) if f.status is Status.INACCURATE]


def test_by_hand():
    delta = accuracy.compare({"y": np.array([[3.0, 5.0]])}, {"y": np.array([[3.0, 4.0]])})
    assert delta.samples == 1
    assert delta.rmse == pytest.approx(np.sqrt(0.5))
    assert delta.rel_rmse == pytest.approx(np.sqrt(0.5 / 12.5))
    assert delta.max_abs == 1
    assert delta.cosine == pytest.approx(29 / (np.sqrt(34) * 5))
    assert delta.sqnr_db == pytest.approx(10 * np.log10(25))
    assert (delta.top1_agreement, delta.classes, delta.top1, delta.nonfinite) == (1, 1, None, ())


def test_equal_outputs_are_perfect():
    delta = accuracy.compare({"logits": LOGITS}, {"logits": LOGITS.copy()})
    assert (delta.rmse, delta.max_abs, delta.top1_agreement, delta.sqnr_db) == (0, 0, 1, None)
    assert delta.cosine == pytest.approx(1)
    assert delta.classes == len(set(LOGITS.argmax(axis=1)))
    assert not broken(delta)


def test_the_worst_output_counts():
    outputs = {"a": TOKENS, "b": TOKENS * 1.5}
    delta = accuracy.compare(outputs, {"a": TOKENS, "b": TOKENS})
    assert delta.rel_rmse == pytest.approx(0.5, rel=1e-5)
    assert delta.sqnr_db == pytest.approx(10 * np.log10(4), rel=1e-4)
    assert delta.top1_agreement is None


def test_labels_by_hand():
    reference = np.eye(4)[[0, 1, 2, 3]]
    outputs = np.eye(4)[[0, 1, 3, 0]]
    delta = accuracy.compare({"y": outputs}, {"y": reference}, np.array([0, 1, 2, 0]))
    assert delta.reference_top1 == 0.75
    assert delta.top1 == 0.75
    assert delta.top1_agreement == 0.5
    assert delta.mcnemar_p == 1.0
    assert figures.accuracy(delta)["top1_loss"].value == 0


def test_mcnemar_sees_a_one_sided_loss():
    reference = np.eye(2)[[0] * 20]
    outputs = np.eye(2)[[0] * 10 + [1] * 10]
    delta = accuracy.compare({"y": outputs}, {"y": reference}, np.zeros(20, dtype=int))
    assert delta.mcnemar_p == pytest.approx(2 / 2**10)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"pooled_output": LOGITS, "sequence_output": TOKENS}, None),
        ({"a": LOGITS, "pooled": LOGITS}, 1.0),
        ({"a": LOGITS, "b": LOGITS}, None),
        ({"a": LOGITS, "logits": LOGITS}, 1.0),
        ({"score": LOGITS[:, :1]}, None),
    ],
)
def test_which_output_holds_logits(outputs, expected):
    assert accuracy.compare(outputs, outputs).top1_agreement == expected


@pytest.mark.parametrize("shift", [1e-7, 0.1, 10])
@given(seed=st.integers(0, 99))
def test_a_constant_shift_is_its_own_rmse(shift, seed):
    reference = np.random.default_rng(seed).normal(size=(5, 3, 2))
    delta = accuracy.compare({"y": reference + shift}, {"y": reference})
    assert delta.rmse == pytest.approx(shift, rel=1e-6)
    assert delta.max_abs == pytest.approx(shift, rel=1e-6)


def test_integer_outputs_do_not_overflow():
    delta = accuracy.compare({"y": np.array([[250, 1]], np.uint8)}, {"y": np.array([[1, 250]], np.uint8)})
    assert delta.max_abs == 249


# Planted faults: each must turn a strict budget red.


def test_a_wrong_int8_scale_is_seen():
    step = np.abs(LOGITS).max() / 127
    good = (np.round(LOGITS / step) * step).astype(np.float32)
    assert "rel_rmse" not in broken(accuracy.compare({"logits": good}, {"logits": LOGITS}))
    assert "rel_rmse" in broken(accuracy.compare({"logits": good * 1.1}, {"logits": LOGITS}))


def test_swapped_classes_are_seen():
    swapped = LOGITS.copy()
    first, second = np.unique(LOGITS.argmax(axis=1))[:2]
    swapped[:, [first, second]] = swapped[:, [second, first]]
    assert {"top1_agreement", "rel_rmse", "cosine"} <= set(
        broken(accuracy.compare({"logits": swapped}, {"logits": LOGITS}))
    )


def test_one_nan_in_64_samples_is_named():
    bad = LOGITS.copy()
    bad[17, 3] = np.nan
    delta = accuracy.compare({"logits": bad}, {"logits": LOGITS})
    assert delta.nonfinite == ("logits: 1 NaN of 6400, first at [17, 3]",)
    assert delta.top1_agreement == 63 / 64
    assert delta.rmse == 0


def test_infinities_and_the_reference_are_named_too():
    bad = TOKENS.copy()
    bad[1, 2, 3], bad[4, 5, 6], bad[0, 0, 1] = np.inf, np.nan, -np.inf
    delta = accuracy.compare({"y": bad}, {"y": bad})
    assert delta.nonfinite == (
        "y: 1 NaN and 2 Inf of 1536, first at [0, 0, 1]",
        "reference y: 1 NaN and 2 Inf of 1536, first at [0, 0, 1]",
    )


def test_an_output_of_nothing_but_nan_has_no_distance():
    nan = np.full((2, 3), np.nan, np.float32)
    delta = accuracy.compare({"y": nan}, {"y": np.ones((2, 3), np.float32)})
    assert delta.top1_agreement == 0
    assert delta.cosine == 0


def test_a_truncated_sequence_is_seen():
    truncated = TOKENS.copy()
    truncated[:, 12:] = 0
    assert {"rel_rmse", "cosine"} <= set(
        broken(
            accuracy.compare({"y": truncated}, {"y": TOKENS}), Budget(max_output_rel_rmse=0.02, min_output_cosine=0.999)
        )
    )
    with pytest.raises(ConfigError) as error:
        accuracy.compare({"y": TOKENS[:, :12]}, {"y": TOKENS})
    assert str(error.value) == (
        "output 'y' has another shape than the reference's\n  got:      (8, 12, 12)\n  expected: (8, 16, 12)"
    )


def test_input_errors_say_what_fits():
    with pytest.raises(ConfigError, match="outputs and reference have different names\n  got:      a\n  expected: b"):
        accuracy.compare({"a": LOGITS}, {"b": LOGITS})
    with pytest.raises(ConfigError, match=r"labels do not fit the outputs\n  got:      \(3,\)\n  expected: \(64,\)"):
        accuracy.compare({"a": LOGITS}, {"a": LOGITS}, np.zeros(3))
    with pytest.raises(
        ConfigError, match=r"labels were given, but no output holds logits\n  got:      y \(8, 16, 12\)"
    ):
        accuracy.compare({"y": TOKENS}, {"y": TOKENS}, np.zeros(8))
    with pytest.raises(ConfigError, match="output 'y' is empty"):
        accuracy.compare({"y": LOGITS[:0]}, {"y": LOGITS[:0]})
    with pytest.raises(ConfigError, match="no outputs"):
        accuracy.compare({}, {})
