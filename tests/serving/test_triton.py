"""The real Triton with one of our engines behind it."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_gpuperf.errors import EngineError, WorkerError
from pytest_gpuperf.records import Artefact, EngineInfo, EngineSpec, Model, TensorSpec
from pytest_gpuperf.serving import Batching, load, repository, statistics
from pytest_gpuperf.serving.kserve import Client

pytest.importorskip("tritonclient.grpc")
pytest.importorskip("onnxruntime")
SQUARE = Model(name="square", source="none", inputs="none")
SPEC = EngineSpec(kind="onnxruntime", model=SQUARE, options={"threads": "1"})
NUMBERS = np.arange(32, dtype=np.float32).reshape(8, 4)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shape = ["batch", 4]
    inputs, outputs = helper.make_tensor_value_info("x", kind, shape), helper.make_tensor_value_info("y", kind, shape)
    node = helper.make_node("Mul", ["x", "x"], ["y"])
    model = helper.make_model(helper.make_graph([node], "square", [inputs], [outputs]), ir_version=9)
    model.opset_import[0].version = 17
    path = tmp_path_factory.mktemp("graph") / "square.onnx"
    onnx.save(model, path)
    return path


def info(graph):
    tensors = [TensorSpec(name=name, dtype="float32", shape=(-1, 4)) for name in ("x", "y")]
    return EngineInfo(
        kind="onnxruntime",
        device="cpu",
        provider="CPUExecutionProvider",
        precision="fp32",
        artefact=Artefact(kind="onnx", path=str(graph), sha256=""),
        inputs=tuple(tensors[:1]),
        outputs=tuple(tensors[1:]),
    )


@pytest.fixture(scope="module")
def server(graph, tmp_path_factory):
    try:
        repository.distribution()
    except repository.ConfigError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("triton")
    batching = Batching(max_batch=8, max_queue_delay_us=20_000)
    with load.supervised(folder, SPEC, info(graph), batching, cache=folder, log=folder / "log") as running:
        yield running


def test_the_engine_answers_through_triton(server):
    with Client(server.url) as client:
        assert client.server().startswith("triton 2.")
        assert client.inputs("square") == (TensorSpec(name="x", dtype="float32", shape=(-1, 4)),)
        np.testing.assert_array_equal(client.infer(client.request("square", {"x": NUMBERS}))["y"], NUMBERS**2)


def test_requests_are_gathered_and_each_gets_its_own_rows(server):
    with Client(server.url) as client:
        before = client.statistics("square")
        calls = []
        for row in NUMBERS:
            client.send(client.request("square", {"x": row[None]}), calls.append, timeout_s=10)
        while len(calls) < len(NUMBERS):
            server.check()
        counted = statistics.between(before, client.statistics("square"))
    values = sorted(np.frombuffer(call.result().raw_output_contents[0], np.float32)[0] for call in calls)
    assert values == sorted(NUMBERS[:, 0] ** 2)
    assert (counted.requests, counted.failed) == (8, 0)
    assert sum(size * count for size, count in counted.batches.items()) == 8
    assert counted.mean_batch > 1
    assert counted.queue_ms > 0


def test_a_request_that_does_not_fit_fails_alone(server):
    with Client(server.url) as client:
        with pytest.raises(EngineError, match=r"the server failed a request\n  got:      INVALID_ARGUMENT"):
            client.infer(client.request("square", {"x": np.zeros((1, 5), np.float32)}))
        assert client.is_ready("square")


def test_an_engine_that_does_not_load_is_named_from_tritons_log(tmp_path, graph):
    broken = EngineSpec(kind="onnxruntime", model=SQUARE, options={"threads": "none"})
    with pytest.raises(WorkerError, match=r"(?s)ended with exit status 1.*ONNX Runtime does not know an option"):
        load.supervised(tmp_path, broken, info(graph), Batching(max_batch=8), cache=tmp_path, log=tmp_path / "log")
