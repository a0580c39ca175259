"""Numbers as people read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf import units


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0.5467, "ms", "0.547 ms"),
        (1.2345, "ms", "1.23 ms"),
        (123.45, "ms", "123 ms"),
        (34919.2, "sps", "34 919 samples/s"),
        (2.083, "x", "2.08 x"),
        (0.0005, "1", "0.000500"),
        (-0.2, "fraction", "-0.200"),
        (0, "mib", "0.000 MiB"),
        (1.5, "kW", "1.50 kW"),
        (math.nan, "ms", "nan ms"),
    ],
)
def test_value(number, unit, text):
    assert units.value(number, unit) == text


@given(st.floats(1e-6, 1e9))
def test_value_is_right_to_three_digits(number):
    assert float(units.value(number).replace(" ", "")) == pytest.approx(number, rel=5.01e-3)


@pytest.mark.parametrize(
    ("pct", "text"), [(13.66, "+13.7 %"), (-0.41, "-0.4 %"), (-0.04, "±0.0 %"), (0, "±0.0 %"), (math.inf, "unbounded")]
)
def test_change(pct, text):
    assert units.change(pct) == text


@pytest.mark.parametrize(
    ("duration", "text"), [(0.42, "0.4 s"), (9.96, "10 s"), (119.4, "119 s"), (125, "2 min 05 s"), (0, "0.0 s")]
)
def test_seconds(duration, text):
    assert units.seconds(duration) == text
