"""ResNet-50 (Keras), 224 x 224, the way the article's servers ran it: TensorFlow on the GPU, and TF-TRT."""

from __future__ import annotations

import pytest

from pytest_gpuperf import Budget

pytestmark = [
    pytest.mark.gpuperf(model="resnet50"),
    pytest.mark.usefixtures("gpu_only"),
    pytest.mark.parametrize("batch", [1, 8, 16, 32, 64]),
]

IMAGES, SAMPLES = "images-224", 128
#: Not the default's images: a calibration looks at those.
SEED = 1

# An engine of TF-TRT takes a minute or two to build and runs smaller batches too: FP16 has one for 8 and one for 64,
# INT8 the one for 64, as the native suite's.


@pytest.fixture
def check(engine, batched_inputs, gpuperf, batch):
    """Return a function that checks one engine against TensorFlow FP32 on the same GPU."""
    reference = engine("resnet50", "tensorflow", precision="fp32", device="cuda")

    def run(kind, precision, budget, **options):
        resnet50 = engine("resnet50", kind, precision=precision, **options)
        inputs = batched_inputs(IMAGES, batch, samples=SAMPLES, seed=SEED)
        gpuperf.check(resnet50, inputs, budget, reference=reference)

    return run


def test_tensorflow_fp32(check):
    check("tensorflow", "fp32", Budget(min_top1_agreement=0.99, min_reference_classes=50), device="cuda")


def test_tensorflow_tf32(check):
    check("tensorflow", "tf32", Budget(min_top1_agreement=0.99), device="cuda")


def test_tensorflow_mixed_float16(check):
    check("tensorflow", "mixed_float16", Budget(min_top1_agreement=0.98), device="cuda")


def test_tensorflow_xla(check):
    check("tensorflow", "fp32", Budget(min_top1_agreement=0.99), device="cuda", xla="on")


def test_tftrt_fp16(check, batch):
    check("tftrt", "fp16", Budget(min_top1_agreement=0.98), batches=8 if batch in (1, 8) else 64, min_converted_pct=95)


def test_tftrt_int8(check):
    check("tftrt", "int8", Budget(min_top1_agreement=0.95), batches=64, min_converted_pct=95)
