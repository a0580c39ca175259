"""ResNet-50 (Keras), 224 x 224, by TensorRT in three precisions, against TensorFlow FP32 on the same images."""

from __future__ import annotations

import pytest

from pytest_gpuperf import Budget

pytestmark = [pytest.mark.gpuperf(model="resnet50"), pytest.mark.parametrize("batch", [1, 8, 16, 32, 64, 256])]

IMAGES, SAMPLES = "images-224", 256
#: The images that the calibration method (a percentile) was chosen on; docs/measurements.md has those of other seeds.
SEED = 1

# TensorRT chooses kernels for one batch size of a shape profile and uses them for all of it. Where the time of a single
# batch matters, an engine has that batch alone; two streams overlap the end of one batch with the next one's start.
SINGLE = {batch: {"min_batch": batch, "opt_batch": batch, "max_batch": batch} for batch in (1, 8)}
LARGE = {
    **{batch: {"min_batch": 16, "opt_batch": 64, "max_batch": 64, "streams": 2} for batch in (16, 32, 64)},
    256: {"min_batch": 256, "opt_batch": 256, "max_batch": 256, "streams": 2},
}


def test_tensorrt_fp32(trt_engine, batched_inputs, gpuperf, batch):
    resnet50 = trt_engine("resnet50", precision="fp32", opt_batch=8, max_batch=256)
    budget = Budget(min_top1_agreement=0.99, max_output_rel_rmse=1e-4, min_reference_classes=100)
    gpuperf.check(resnet50, batched_inputs(IMAGES, batch, samples=SAMPLES, seed=SEED), budget)


def test_tensorrt_fp16(trt_engine, batched_inputs, gpuperf, batch):
    resnet50 = trt_engine("resnet50", precision="fp16", **{**SINGLE, **LARGE}[batch])
    budget = Budget(min_top1_agreement=0.99, max_output_rel_rmse=5e-3)
    gpuperf.check(resnet50, batched_inputs(IMAGES, batch, samples=SAMPLES, seed=SEED), budget)


def test_tensorrt_int8(trt_engine, batched_inputs, gpuperf, batch):
    until_64 = {"opt_batch": 64, "max_batch": 64, "streams": 2}
    resnet50 = trt_engine("resnet50", precision="int8", **(LARGE[256] if batch == max(LARGE) else until_64))
    gpuperf.check(resnet50, batched_inputs(IMAGES, batch, samples=SAMPLES, seed=SEED), Budget(min_top1_agreement=0.97))
