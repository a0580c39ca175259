"""BERT-base (KerasHub), 128 tokens, the way the article's servers ran it: TensorFlow on the GPU, and TF-TRT."""

from __future__ import annotations

import pytest

from pytest_gpuperf import Budget

pytestmark = [
    pytest.mark.gpuperf(model="bert_base"),
    pytest.mark.usefixtures("gpu_only"),
    pytest.mark.parametrize("batch", [1, 8, 16, 32, 64]),
]

TOKENS, SAMPLES = "tokens-128", 64
#: Not the default's sentences: a calibration looks at those.
SEED = 1

# Operations on shapes, which attention is full of, go to TensorRT only with shape profiles: one engine for all batches.


@pytest.fixture
def check(engine, batched_inputs, gpuperf, batch):
    """Return a function that checks one engine against TensorFlow FP32 on the same GPU."""
    reference = engine("bert_base", "tensorflow", precision="fp32", device="cuda")

    def run(kind, precision, budget, **options):
        bert = engine("bert_base", kind, precision=precision, **options)
        inputs = batched_inputs(TOKENS, batch, samples=SAMPLES, seed=SEED)
        gpuperf.check(bert, inputs, budget, reference=reference)

    return run


def test_tensorflow_fp32(check):
    check("tensorflow", "fp32", Budget(max_output_rel_rmse=1e-4), device="cuda")


def test_tensorflow_tf32(check):
    check("tensorflow", "tf32", Budget(max_output_rel_rmse=1e-2), device="cuda")


def test_tensorflow_mixed_float16(check):
    check("tensorflow", "mixed_float16", Budget(max_output_rel_rmse=2e-2), device="cuda")


def test_tensorflow_xla(check):
    check("tensorflow", "fp32", Budget(max_output_rel_rmse=1e-4), device="cuda", xla="on")


def test_tftrt_fp16(check):
    check("tftrt", "fp16", Budget(max_output_rel_rmse=2e-2), batches="1,64", shapes="range")


def test_tftrt_int8(check):
    check("tftrt", "int8", Budget(min_output_cosine=0.95), batches="1,64", shapes="range")
