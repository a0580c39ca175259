"""BERT-base (KerasHub), 128 tokens, by TensorRT in three precisions: embeddings against TensorFlow FP32."""

from __future__ import annotations

import pytest

from pytest_gpuperf import Budget

pytestmark = [pytest.mark.gpuperf(model="bert_base"), pytest.mark.parametrize("batch", [1, 8, 16, 32, 64, 256])]

TOKENS, SAMPLES = "tokens-128", 64
#: Not the calibration's sentences, which have a seed of their own.
SEED = 1
#: TensorRT runs a transformer as one region of its own making, which not every release can capture.
MODE = {"cuda_graph": "auto"}
#: Of a shape profile; all three alike make an engine for one batch size, the fastest where latency counts.
SIZES = ("min_batch", "opt_batch", "max_batch")


def test_tensorrt_fp32(trt_engine, batched_inputs, gpuperf, batch):
    bert = trt_engine("bert_base", precision="fp32", opt_batch=8, max_batch=256, **MODE)
    gpuperf.check(bert, batched_inputs(TOKENS, batch, samples=SAMPLES, seed=SEED), Budget(max_output_rel_rmse=1e-4))


def test_tensorrt_fp16(trt_engine, batched_inputs, gpuperf, batch):
    single, many = dict.fromkeys(SIZES, batch), dict(zip(SIZES, (16, 64, 256), strict=True))
    shapes = single if batch in (1, 8) else many
    bert = trt_engine("bert_base", precision="fp16", **shapes, **MODE)
    gpuperf.check(bert, batched_inputs(TOKENS, batch, samples=SAMPLES, seed=SEED), Budget(max_output_rel_rmse=1e-2))


def test_tensorrt_int8(trt_engine, batched_inputs, gpuperf, batch):
    bert = trt_engine("bert_base", precision="int8", opt_batch=64, max_batch=256, **MODE)
    gpuperf.check(bert, batched_inputs(TOKENS, batch, samples=SAMPLES, seed=SEED), Budget(min_output_cosine=0.98))
