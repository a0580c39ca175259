"""BERT-base (KerasHub's backbone), 128 tokens: embeddings of every engine against TensorFlow FP32."""

from __future__ import annotations

import pytest

from pytest_gpuperf import Budget

pytestmark = [pytest.mark.gpuperf(model="bert_base"), pytest.mark.parametrize("batch", [1, 8, 16, 32, 64])]

TOKENS = "tokens-128"
SAMPLES = 16


def test_tensorflow_fp32(engine, batched_inputs, gpuperf, batch):
    bert = engine("bert_base", "tensorflow", precision="fp32")
    gpuperf.check(bert, batched_inputs(TOKENS, batch, samples=SAMPLES))


def test_onnxruntime_fp32(engine, batched_inputs, gpuperf, batch):
    bert = engine("bert_base", "onnxruntime", precision="fp32")
    gpuperf.check(bert, batched_inputs(TOKENS, batch, samples=SAMPLES), Budget(max_output_rel_rmse=1e-4))


def test_onnxruntime_int8(engine, batched_inputs, gpuperf, batch):
    bert = engine("bert_base", "onnxruntime", precision="int8")
    gpuperf.check(bert, batched_inputs(TOKENS, batch, samples=SAMPLES), Budget(min_output_cosine=0.98))
