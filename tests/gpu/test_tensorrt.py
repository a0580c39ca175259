"""The engine on a real GPU: results against FP32, the device's clock, modes, and what the runtime refuses."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from pytest_gpuperf.attribution import pair
from pytest_gpuperf.engines.tensorrt import TensorRTEngine
from pytest_gpuperf.engines.trt import cuda
from pytest_gpuperf.errors import ConfigError, EngineError, GpuPerfError
from pytest_gpuperf.records import Artefact, EngineSpec, Model
from pytest_gpuperf.worker.loop import Loop

pytestmark = pytest.mark.gpu
ROWS, WIDTH, DEPTH = 64, 512, 6


@pytest.fixture(scope="module", autouse=True)
def gpu() -> cuda.Device:
    pytest.importorskip("tensorrt")
    try:
        return cuda.device(0)
    except GpuPerfError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """``y = tanh(… tanh(x w0) …)``, ``x`` (batch, 512)."""
    return written(tmp_path_factory.mktemp("graph") / "tanh.onnx", [WIDTH] * (DEPTH + 1))


def written(path: Path, widths: list[int]) -> Artefact:
    onnx = pytest.importorskip("onnx")
    generator = np.random.default_rng(0)
    weights = [
        generator.standard_normal(shape, np.float32) * np.float32(shape[0] ** -0.5)
        for shape in itertools.pairwise(widths)
    ]
    nodes = []
    for index in range(DEPTH):
        source, target = ("x" if index == 0 else f"t{index - 1}"), ("y" if index == DEPTH - 1 else f"t{index}")
        nodes.append(onnx.helper.make_node("MatMul", [source, f"w{index}"], [f"p{index}"], name=f"product{index}"))
        nodes.append(onnx.helper.make_node("Tanh", [f"p{index}"], [target], name=f"tanh{index}"))
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", WIDTH]) for name in "xy")
    initializers = [onnx.numpy_helper.from_array(value, f"w{index}") for index, value in enumerate(weights)]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "graph", [x], [y], initializers),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, path)
    return Artefact(kind="onnx", path=str(path), sha256=f"{sum(widths):064x}")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def opened(graph: Artefact, cache: Path, **options: str) -> TensorRTEngine:
    model = Model(name="tanh", source="", inputs="")
    engine = TensorRTEngine(EngineSpec(kind="tensorrt", model=model, precision="fp32", max_batch=ROWS, options=options))
    engine.open(graph, cache=cache, progress=print)
    return engine


def batch(rows: int, seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal((rows, WIDTH), np.float32)}


def expected(graph: Artefact, arrays: dict[str, np.ndarray]) -> np.ndarray:
    onnx = pytest.importorskip("onnx")
    values = arrays["x"].astype(np.float64)
    for tensor in onnx.load(graph.path).graph.initializer:
        values = np.tanh(values @ onnx.numpy_helper.to_array(tensor).astype(np.float64))
    return values


@pytest.mark.parametrize(
    ("transfers", "cuda_graph", "streams"), list(itertools.product(["none", "in_out"], ["on", "off"], ["1", "2"]))
)
def test_results(graph, cache, transfers, cuda_graph, streams):
    with opened(graph, cache, transfers=transfers, cuda_graph=cuda_graph, streams=streams) as engine:
        batches = [batch(rows, seed) for seed, rows in enumerate((1, ROWS, 7))]
        bindings = [engine.bind(arrays) for arrays in batches]
        for binding in [*bindings, *reversed(bindings)]:
            binding.run()
        for arrays, binding in zip(batches, bindings, strict=True):
            # FP32 without TF32; TF32 would be off by about 3e-4.
            np.testing.assert_allclose(binding.outputs()["y"], expected(graph, arrays), atol=5e-5)


def test_the_devices_clock_is_inside_the_hosts(graph, cache):
    with opened(graph, cache) as engine:
        block = Loop(engine, [batch(ROWS, 0)], batch=ROWS).measure(seconds=0.2, max_calls=1000)
        assert all(0 < device < host for device, host in zip(block.device_ns, block.host_ns, strict=True))


def test_two_streams_keep_their_results_under_load(graph, cache):
    with opened(graph, cache, streams="2") as engine:
        loop = Loop(engine, [batch(ROWS, seed) for seed in range(4)], batch=ROWS)
        assert loop.volley(in_flight=4, seconds=0.5).calls > 0  # the loop compares outputs by itself


def test_a_batch_beyond_the_shape_profile(graph, cache):
    with opened(graph, cache) as engine, pytest.raises(ConfigError, match="does not fit the engine"):
        engine.bind(batch(ROWS + 1, 0))


def test_an_engine_that_cannot_be_loaded(graph, cache, monkeypatch):
    from pytest_gpuperf.engines import tensorrt

    real = tensorrt.stored

    def damaged(*args, **options):
        entry = real(*args, **options)
        return type(entry)(engine=entry.engine[: len(entry.engine) // 2], sha256="", build_s=0, recipe={})

    monkeypatch.setattr(tensorrt, "stored", damaged)
    with pytest.raises(EngineError, match="TensorRT did not load the engine"):
        opened(graph, cache)


def test_out_of_memory_is_an_error_and_the_engine_lives_on(graph, cache):
    with opened(graph, cache) as engine:
        with pytest.raises(EngineError, match="CUDA failed to allocate"):
            cuda.Buffer((1 << 44,), "float32")
        binding = engine.bind(batch(2, 0))
        binding.run()
        np.testing.assert_allclose(binding.outputs()["y"], expected(graph, batch(2, 0)), atol=5e-5)


def test_a_planted_slow_layer_comes_first(tmp_path, cache):
    times = []
    for name, widest in (("fast", WIDTH), ("slow", 64 * WIDTH)):
        widths = [WIDTH] * 3 + [widest] + [WIDTH] * 3
        with opened(written(tmp_path / f"{name}.onnx", widths), cache) as engine:
            times.append(engine.profile(batch(ROWS, 0), calls=20))
    first = pair(times[1], times[0])[0]
    assert first.difference_ms > 0
    assert "product2" in first.name or "product3" in first.name
