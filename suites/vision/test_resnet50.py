"""ResNet-50 (Keras), 224 x 224: every engine against TensorFlow FP32 on the same images."""

from __future__ import annotations

import pytest

from pytest_gpuperf import Budget

pytestmark = [pytest.mark.gpuperf(model="resnet50"), pytest.mark.parametrize("batch", [1, 8, 16, 32, 64])]

IMAGES = "images-224"


def samples(batch):
    """Enough images to see most classes; at batch 1, a call each, the same kernels are seen by a quarter of them."""
    return 32 if batch == 1 else 128


def test_tensorflow_fp32(engine, batched_inputs, gpuperf, batch):
    resnet50 = engine("resnet50", "tensorflow", precision="fp32")
    budget = Budget(min_reference_classes=100 if batch > 1 else 25)
    gpuperf.check(resnet50, batched_inputs(IMAGES, batch, samples=samples(batch)), budget)


def test_tensorflow_mixed_bfloat16(engine, batched_inputs, gpuperf, batch):
    resnet50 = engine("resnet50", "tensorflow", precision="mixed_bfloat16")
    gpuperf.check(resnet50, batched_inputs(IMAGES, batch, samples=samples(batch)), Budget(min_output_cosine=0.99))


def test_onnxruntime_fp32(engine, batched_inputs, gpuperf, batch):
    resnet50 = engine("resnet50", "onnxruntime", precision="fp32")
    budget = Budget(min_top1_agreement=0.99, max_output_rel_rmse=1e-4)
    gpuperf.check(resnet50, batched_inputs(IMAGES, batch, samples=samples(batch)), budget)


def test_onnxruntime_int8(engine, batched_inputs, gpuperf, batch):
    resnet50 = engine("resnet50", "onnxruntime", precision="int8")
    budget = Budget(min_top1_agreement=0.95, min_output_cosine=0.99)
    gpuperf.check(resnet50, batched_inputs(IMAGES, batch, samples=samples(batch)), budget)
