"""The search for the largest batch, exactly; and once in real children."""

from __future__ import annotations

import argparse

import pytest
from fakes import cases
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf.commands import max_batch
from pytest_gpuperf.errors import ConfigError, EngineError, WorkerError


@given(st.integers(0, 3000), st.integers(1, 2000))
def test_finds_the_edge_in_few_tries(edge, limit):
    tries = []

    def fits(batch: int) -> bool:
        tries.append(batch)
        assert 1 <= batch <= limit
        return batch <= edge

    assert max_batch.largest(fits, limit=limit) == min(edge, limit)
    assert len(tries) == len(set(tries)) <= 2 * limit.bit_length() + 1


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (EngineError("out of device memory", got="24 GiB"), True),
        (EngineError("TensorFlow failed", got="ResourceExhaustedError: OOM when allocating tensor"), True),
        (EngineError("ONNX Runtime failed", got="std::bad_alloc"), True),
        (EngineError("failed", got="MemoryError: Unable to allocate 93.1 GiB"), True),
        (WorkerError("the measuring process was killed", got="SIGKILL"), True),
        (EngineError("wrong shape", got="(1, 2)"), False),
        (WorkerError("the measuring process died", got="SIGSEGV"), False),
        (EngineError("no ROOM left"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, is_memory):
    assert max_batch.is_out_of_memory(error) is is_memory


@pytest.mark.parametrize(("options", "fits"), [({}, True), ({"fault": "memory"}, False), ({"fault": "engine"}, False)])
def test_attempt_in_a_child(tmp_path, options, fits):
    assert max_batch.attempt(cases.engine(**options), cases.batches(4, 4), cache=tmp_path) is fits


def test_another_failure_ends_the_search(tmp_path):
    with pytest.raises(WorkerError, match="SIGSEGV"):
        max_batch.attempt(cases.engine(fault="segfault"), cases.batches(4, 4), cache=tmp_path)


def test_command(capsys, monkeypatch, tmp_path):
    asked = []

    def attempt(engine, batches, *, cache):
        asked.append((engine.kind, engine.model.name, engine.max_batch, batches.batch))
        return batches.batch <= 5

    monkeypatch.setattr(max_batch, "attempt", attempt)
    parser = argparse.ArgumentParser()
    max_batch.add_arguments(parser)
    assert max_batch.run(parser.parse_args(["net/model.py:build", "--inputs=images-224", "--limit=64"])) == 0
    assert asked == [("onnxruntime", "model", batch, batch) for batch in (1, 2, 4, 8, 6, 5)]
    assert capsys.readouterr().out.endswith("largest batch of model on onnxruntime fp32: 5\n")
    assert max_batch.run(parser.parse_args(["m.onnx", "--inputs=images-224", "--limit=4"])) == 0
    assert capsys.readouterr().out.endswith("fp32: 4 (the limit; larger ones may fit)\n")
    with pytest.raises(ConfigError, match="--limit is no batch size"):
        max_batch.run(parser.parse_args(["m.onnx", "--inputs=images-224", "--limit=0"]))
