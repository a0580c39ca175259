"""ResNet-50 by native TensorRT beside the same model by TF-TRT, each under the Python that it needs.

    pytest benchmarks/stacks --gpu-profile=h200 --gpu-against=python:/path/to/python3.10

The interpreter has TensorFlow 2.17 with TF-TRT; the one that runs pytest has TensorRT and needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuperf import Budget, Model
from pytest_gpuperf.fixtures import GpuPerf

SUITES = Path(__file__).resolve().parents[2] / "suites"
RESNET50 = Model(name="resnet50", source="vision/model.py:build", inputs="images-224", root=str(SUITES))


@pytest.mark.gpuperf(model="resnet50")
@pytest.mark.parametrize("batch", [8, 64])
def test_native_beside_tftrt(
    engine: Callable[..., Any],
    trt_engine: Callable[..., Any],
    batched_inputs: Callable[..., Any],
    gpuperf: GpuPerf,
    batch: int,
) -> None:
    shapes = {"min_batch": 8, "opt_batch": 8, "max_batch": 8}
    if batch > 8:
        shapes = {"min_batch": 16, "opt_batch": 64, "max_batch": 64, "streams": 2}
    native = trt_engine(RESNET50, precision="fp16", transfers="in_out", **shapes)
    tftrt = engine(RESNET50, "tftrt", precision="fp16", batches=batch, min_converted_pct=95)
    inputs = batched_inputs("images-224", batch, samples=128, seed=1)
    gpuperf.check(native, inputs, Budget(min_top1_agreement=0.98), live=tftrt)
