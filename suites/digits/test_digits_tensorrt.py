"""The digits network by TensorRT in three precisions: real labels, so accuracy is top-1 on held-out images."""

from __future__ import annotations

import pytest

from pytest_gpuperf import Budget

pytestmark = [pytest.mark.gpuperf(model="digits"), pytest.mark.parametrize("batch", [1, 8, 16, 32, 64, 256])]

IMAGES, HELD_OUT = "model.py:inputs", 320
#: Not the calibration's images, which have a seed of their own.
SEED = 1


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt(trt_engine, batched_inputs, gpuperf, precision, batch):
    digits = trt_engine("digits", precision=precision, opt_batch=64, max_batch=256)
    rounding = {"fp32": 1e-4, "fp16": 1e-2, "int8": None}[precision]
    budget = Budget(min_top1=0.97, max_top1_loss=0.005, max_output_rel_rmse=rounding)
    gpuperf.check(digits, batched_inputs(IMAGES, batch, samples=HELD_OUT, seed=SEED), budget)
