"""ResNet-50 by TensorRT on all GPUs of the host at once; skipped where there is one, or none."""

from __future__ import annotations

import pytest

from pytest_gpuperf.scaling import ScalingBudget

pytestmark = [pytest.mark.gpuperf(model="resnet50"), pytest.mark.parametrize("batch", [64])]

IMAGES, SAMPLES = "images-224", 256


@pytest.mark.parametrize("transfers", ["none", "in_out"])
def test_tensorrt_fp16(trt_engine, batched_inputs, scaling, batch, transfers):
    sizes = {"min_batch": 16, "opt_batch": 64, "max_batch": 64, "streams": 2}
    resnet50 = trt_engine("resnet50", precision="fp16", transfers=transfers, **sizes)
    scaling.check(resnet50, batched_inputs(IMAGES, batch, samples=SAMPLES), ScalingBudget(efficiency=0.95))
