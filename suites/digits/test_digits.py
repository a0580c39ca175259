"""A small ResNet on scikit-learn's handwritten digits: real labels, so accuracy is top-1 on held-out images."""

from __future__ import annotations

import pytest

from pytest_gpuperf import Budget

pytestmark = [pytest.mark.gpuperf(model="digits"), pytest.mark.parametrize("batch", [1, 8, 16, 32, 64])]

IMAGES = "model.py:inputs"
HELD_OUT = 320


def test_tensorflow_fp32(engine, batched_inputs, gpuperf, batch):
    digits = engine("digits", "tensorflow", precision="fp32")
    gpuperf.check(digits, batched_inputs(IMAGES, batch, samples=HELD_OUT), Budget(min_top1=0.98))


def test_tensorflow_mixed_bfloat16(engine, batched_inputs, gpuperf, batch):
    digits = engine("digits", "tensorflow", precision="mixed_bfloat16")
    budget = Budget(max_top1_loss=0.005, max_output_rel_rmse=0.05)
    gpuperf.check(digits, batched_inputs(IMAGES, batch, samples=HELD_OUT), budget)


def test_tensorflow_mixed_float16(engine, batched_inputs, gpuperf, batch):
    digits = engine("digits", "tensorflow", precision="mixed_float16")
    budget = Budget(max_top1_loss=0.005, max_output_rel_rmse=0.01)
    gpuperf.check(digits, batched_inputs(IMAGES, batch, samples=HELD_OUT), budget)


def test_onnxruntime_fp32(engine, batched_inputs, gpuperf, batch):
    digits = engine("digits", "onnxruntime", precision="fp32")
    budget = Budget(min_top1=0.98, min_top1_agreement=1.0, max_output_rel_rmse=1e-4)
    gpuperf.check(digits, batched_inputs(IMAGES, batch, samples=HELD_OUT), budget)


def test_onnxruntime_int8(engine, batched_inputs, gpuperf, batch):
    digits = engine("digits", "onnxruntime", precision="int8")
    gpuperf.check(digits, batched_inputs(IMAGES, batch, samples=HELD_OUT), Budget(max_top1_loss=0.005))
