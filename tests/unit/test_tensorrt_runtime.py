"""The engine over scripted TensorRT and CUDA: results, modes, and every refused call."""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pytest_gpuperf.engines import tensorrt
from pytest_gpuperf.engines.tensorrt import TensorRTEngine
from pytest_gpuperf.engines.trt.builder import Built
from pytest_gpuperf.engines.trt.runtime import TensorRTBinding
from pytest_gpuperf.errors import ConfigError, EngineError
from pytest_gpuperf.records import Artefact, EngineSpec, Model
from pytest_gpuperf.worker.loop import Loop
from tests.fakes import cudart, trt

CONV = {"LayerType": "CaskConvolution", "Weights": {"Type": "Half", "Count": 100}}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cudart.reset()
    trt.refuse.clear()
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr("pytest_gpuperf.engines.trt.cuda.api", lambda: cudart)
    monkeypatch.setattr(tensorrt, "build", lambda *_, **__: built())
    yield
    cudart.reset()
    trt.refuse.clear()


def built(layers: list[object] | None = None) -> Built:
    return Built(engine=json.dumps({"max_batch": 8, "layers": layers or [CONV]}).encode(), timing_cache=b"timing")


def engine(precision: str = "fp16", **options: str) -> TensorRTEngine:
    model = Model(name="double", source="", inputs="")
    return TensorRTEngine(EngineSpec(kind="tensorrt", model=model, precision=precision, max_batch=8, options=options))


def opened(tmp_path: Path, precision: str = "fp16", **options: str) -> TensorRTEngine:
    made = engine(precision, **options)
    made.open(Artefact(kind="onnx", path="double.onnx", sha256="ab" * 32), cache=tmp_path, progress=lambda _: None)
    return made


def batch(rows: int, start: float = 0) -> dict[str, np.ndarray]:
    return {"x": np.arange(start, start + rows * 4, dtype=np.float32).reshape(rows, 4)}


def forget(binding: TensorRTBinding) -> None:
    """Wipe what binding it computed, so that a run which writes elsewhere is found out."""
    ctypes.memset(binding._outputs["y"].device, 0xFF, binding._outputs["y"].size)


@pytest.mark.parametrize("transfers", ["none", "in_out"])
@pytest.mark.parametrize("cuda_graph", ["on", "off"])
@pytest.mark.parametrize("streams", ["1", "2"])
def test_bindings_keep_their_own_results(tmp_path, transfers, cuda_graph, streams):
    made = opened(tmp_path, transfers=transfers, cuda_graph=cuda_graph, streams=streams)
    bindings = [made.bind(batch(rows, start=100 * rows)) for rows in (1, 8, 3)]
    for binding in [*bindings, *reversed(bindings)]:
        forget(binding)
        binding.run()
        assert binding.device_ns() > 0
    for rows, binding in zip((1, 8, 3), bindings, strict=True):
        np.testing.assert_array_equal(binding.outputs()["y"], 2 * batch(rows, start=100 * rows)["x"])


def test_runs_compute_anew(tmp_path):
    made = opened(tmp_path)
    binding = made.bind(batch(2))
    for block in cudart.memory.values():
        np.frombuffer(block, np.uint8)[:] = 0  # zeros for inputs and outputs: a run must give zeros again
    binding.run()
    np.testing.assert_array_equal(binding.outputs()["y"], np.zeros((2, 4), np.float32))


def test_threads_share_a_lane(tmp_path):
    made = opened(tmp_path, cuda_graph="off")
    bindings = [made.bind(batch(4, start=1000 * index)) for index in range(4)]
    for binding in bindings:
        forget(binding)
    threads = [threading.Thread(target=lambda b=b: [b.run() for _ in range(50)]) for b in bindings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, binding in enumerate(bindings):
        np.testing.assert_array_equal(binding.outputs()["y"], 2 * batch(4, start=1000 * index)["x"])


@pytest.mark.parametrize("in_flight", [1, 2, 4])
def test_calls_in_flight_never_wait_for_one_another_while_there_are_streams(tmp_path, in_flight):
    """So sweeping the calls in flight sweeps the streams: ``k`` calls keep ``k`` of them busy."""
    with opened(tmp_path, streams="4") as made:
        loop = Loop(made, [batch(2, start) for start in range(8)], batch=2)
        loop.volley(in_flight=in_flight, seconds=0.01)
        used = [{id(binding._lane) for binding in loop._bindings[first::in_flight]} for first in range(in_flight)]
        assert sum(map(len, used)) == len(set().union(*used)) == 4


def test_layers_are_timed_without_a_graph_and_summed_by_name(tmp_path):
    with opened(tmp_path) as made:
        made.bind(batch(2))
        assert made.profile(batch(2), calls=3) == {"conv1": 1.0, "fc": 0.25}
        assert cudart.capturing is None


def test_info_tells_what_was_built(tmp_path):
    info = opened(tmp_path, streams="2").info
    assert info is not None
    assert info.precision == "fp16"
    assert info.device == "gpu:0"
    assert info.has_device_clock
    assert info.versions["tensorrt"] == "8.6.0"
    assert info.versions["gpu"] == "Fake GPU"
    assert info.mode == {
        "transfers": "none",
        "cuda_graph": "on",
        "streams": "2",
        "sync": "spin",
        "tf32": "off",
        "profiles": "shared",
        "level": "3",
        "min_batch": "1",
        "opt_batch": "8",
        "max_batch": "8",
        "precision_read": "layers",
    }


def test_an_engine_file_is_loaded_as_it_is(tmp_path, monkeypatch):
    def never(*_: object, **__: object) -> Built:
        raise AssertionError("nothing is built")

    monkeypatch.setattr(tensorrt, "build", never)
    path = tmp_path / "old.engine"
    path.write_bytes(built().engine)
    made = engine()
    info = made.open(Artefact(kind="engine", path=str(path), sha256="cd" * 32), cache=tmp_path, progress=lambda _: None)
    assert (info.artefact.path, info.versions["engine_sha256"]) == (str(path), "cd" * 32)
    binding = made.bind(batch(3))
    binding.run()
    np.testing.assert_array_equal(binding.outputs()["y"], 2 * batch(3)["x"])


def test_another_precision_than_asked_for_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="did not load double in the precision that was asked for") as caught:
        opened(tmp_path, "int8")
    assert caught.value.got == "fp16"


def test_everything_is_freed(tmp_path):
    made = opened(tmp_path)
    made.bind(batch(8))
    assert cudart.memory
    made.close()
    assert not cudart.memory
    for kind in ("Stream", "Event"):
        created = cudart.calls.count(f"cuda{kind}CreateWithFlags")
        assert cudart.calls.count(f"cuda{kind}Destroy") == created > 0
    assert cudart.calls.count("cudaGraphExecDestroy") == cudart.calls.count("cudaGraphInstantiate") == 1


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("deserialize_cuda_engine", "TensorRT did not load the engine"),
        ("create_execution_context", "could not make an execution context"),
        ("set_optimization_profile_async", "refused shape profile 0 for context 0"),
        ("set_tensor_address", "refused the address of 'x'"),
        ("execute_async_v3", "could not enqueue the engine"),
        ("execute_in_capture", "could not enqueue the engine"),
    ],
)
def test_a_refusal_of_tensorrt_is_an_error(tmp_path, call, what):
    trt.refuse.add(call)
    with pytest.raises(EngineError, match=what):
        opened(tmp_path).bind(batch(1))
    assert cudart.capturing is None


def test_an_engine_of_another_gpu_says_what_was_expected(tmp_path):
    trt.refuse.add("deserialize_cuda_engine")
    with pytest.raises(EngineError) as caught:
        opened(tmp_path)
    assert str(caught.value) == (
        "TensorRT did not load the engine\n"
        "  got:      The engine plan file is generated on an incompatible device\n"
        "  expected: an engine for Fake GPU, compute capability 8.6, tensorrt 8.6.0\n"
        "  next:     remove it with 'gpuperf cache clear' and run again"
    )


@pytest.mark.parametrize(
    "call",
    [
        "cudaSetDevice",
        "cudaGetDeviceProperties",
        "cudaStreamCreateWithFlags",
        "cudaMalloc",
        "cudaHostAlloc",
        "cudaMemcpyAsync",
        "cudaEventCreateWithFlags",
        "cudaStreamSynchronize",
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiate",
        "cudaEventRecord",
        "cudaGraphLaunch",
        "cudaEventSynchronize",
        "cudaEventElapsedTime",
    ],
)
def test_a_failed_cuda_call_is_an_error(tmp_path, call):
    cudart.fail[call] = 2
    with pytest.raises(
        EngineError, match=r"CUDA failed to .*\n  got:      cudaErrorMemoryAllocation \(2\): out of memory"
    ):
        run_once(tmp_path)


def run_once(tmp_path: Path) -> None:
    binding = opened(tmp_path).bind(batch(1))
    binding.run()
    binding.device_ns()


def test_without_a_gpu(tmp_path):
    cudart.fail["cudaGetDeviceCount"] = 100
    with pytest.raises(ConfigError, match="there is no GPU") as caught:
        opened(tmp_path)
    assert caught.value.got == "cudaErrorNoDevice (100): no CUDA-capable device is detected"


def test_a_gpu_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="there is no GPU 3") as caught:
        opened(tmp_path, device="3")
    assert caught.value.got == "1 GPUs"


def test_without_tensorrt(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ConfigError, match="TensorRT is not installed") as caught:
        opened(tmp_path, package="tensorrt")
    assert "pip install 'pytest-gpuperf[tensorrt-cu12]'" in str(caught.value)


def test_a_batch_beyond_the_shape_profile(tmp_path):
    with pytest.raises(ConfigError, match="does not fit the engine") as caught:
        opened(tmp_path).bind(batch(9))
    assert caught.value.got == "(9, 4)"
    assert caught.value.expected == "(1, 4) … (8, 4)"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"speed": "max"}, "has no option 'speed'"),
        ({"streams": "9"}, "option 'streams' has an impossible value"),
        ({"opt_batch": "many"}, "option 'opt_batch' has an impossible value"),
    ],
)
def test_impossible_options(options, what):
    with pytest.raises(ConfigError, match=what):
        engine(**options)
