"""The digits model behind a real Triton, asked by MLPerf LoadGen.

    pytest suites/serving --gpu-profile=cpu

It takes half a minute and the whole machine, so it runs where it is asked for only.
"""

from __future__ import annotations

import pytest

from pytest_gpuperf.serving import Batching, ServingBudget

pytestmark = pytest.mark.gpuperf(model="digits")

IMAGES = "../digits/model.py:inputs"


def test_onnxruntime_fp32(engine, batched_inputs, serving):
    digits = engine("digits", "onnxruntime", precision="fp32", max_batch=32, threads=1)
    budget = ServingBudget(p99_ms=100, rate=50, max_error_rate=0.0)
    serving.check(digits, batched_inputs(IMAGES, 1, samples=320), budget, batching=Batching(max_batch=32))
