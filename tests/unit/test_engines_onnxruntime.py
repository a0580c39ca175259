"""ONNX Runtime on graphs that the tests make: what it computes, what it says it is, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import cases
from fakes.inputs import numbers

from pytest_gpuperf import engines
from pytest_gpuperf.engines.onnxruntime import OnnxRuntimeEngine
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, EngineInfo, EngineSpec, Model, TensorSpec
from pytest_gpuperf.worker.client import Worker

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WEIGHT = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
BATCH = numbers(4, 0)
SCALE = 0.02


def graph(path: Path, kind: str) -> Path:
    """Write ``logits = numbers @ weight`` with weights of the given kind; activations are those of the kind too."""
    from onnx import TensorProto as Type
    from onnx import helper, numpy_helper

    float_type = Type.FLOAT16 if kind == "fp16" else Type.FLOAT
    nodes = [helper.make_node("MatMul", ["numbers", "weight"], ["logits"])]
    tensors = [numpy_helper.from_array(WEIGHT.astype(np.float16 if kind == "fp16" else np.float32), "weight")]
    if kind == "int8":
        values = np.clip(np.round(WEIGHT / SCALE), -127, 127).astype(np.int8)
        constants = {"q_weight": values, "scale": np.float32(SCALE), "zero": np.int8(0)}
        tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        nodes = [
            helper.make_node("QuantizeLinear", ["numbers", "scale", "zero"], ["q_numbers"]),
            helper.make_node("DequantizeLinear", ["q_numbers", "scale", "zero"], ["dq_numbers"]),
            helper.make_node("DequantizeLinear", ["q_weight", "scale", "zero"], ["weight"]),
            helper.make_node("MatMul", ["dq_numbers", "weight"], ["logits"]),
        ]
    body = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("numbers", float_type, ["batch", 8])],
        [helper.make_tensor_value_info("logits", float_type, ["batch", 10])],
        tensors,
    )
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def open_engine(path: Path, precision: str = "fp32", **options: str) -> tuple[OnnxRuntimeEngine, EngineInfo]:
    spec = EngineSpec(kind="onnxruntime", model=cases.MODEL, precision=precision, options=options)
    engine = engines.load("onnxruntime")(spec)
    assert isinstance(engine, OnnxRuntimeEngine)
    artefact = Artefact(kind="onnx", path=str(path), sha256="")
    return engine, engine.open(artefact, cache=path.parent, progress=lambda _: None)


def test_it_computes_what_numpy_computes_and_says_what_it_is(tmp_path: Path) -> None:
    engine, info = open_engine(graph(tmp_path / "m.onnx", "fp32"), threads="1")
    with engine:
        binding = engine.bind(BATCH)
        binding.run()
        np.testing.assert_allclose(binding.outputs()["logits"], BATCH["numbers"] @ WEIGHT, rtol=1e-5)
    assert (info.device, info.provider, info.precision) == ("cpu", "CPUExecutionProvider", "fp32")
    assert info.inputs == (TensorSpec(name="numbers", dtype="float32", shape=(-1, 8)),)
    assert info.outputs == (TensorSpec(name="logits", dtype="float32", shape=(-1, 10)),)
    assert info.mode == {
        "threads": "1",
        "spinning": "within a run",
        "graph_optimization": "all",
        "transfers": "none",
    }
    assert not info.has_device_clock


def test_threads_are_all_that_the_process_may_use_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 5})
    engine, info = open_engine(graph(tmp_path / "m.onnx", "fp32"))
    with engine:
        assert info.mode["threads"] == "3"
        assert engine._session.get_session_options().intra_op_num_threads == 3


def test_an_idle_session_does_not_spin(tmp_path: Path) -> None:
    engine, _ = open_engine(graph(tmp_path / "m.onnx", "fp32"))
    with engine:
        options = engine._session.get_session_options()
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_outputs_are_copies_that_the_next_run_leaves_alone(tmp_path: Path) -> None:
    engine, _ = open_engine(graph(tmp_path / "m.onnx", "fp32"))
    with engine:
        binding = engine.bind(BATCH)
        binding.run()
        outputs = binding.outputs()["logits"]
        outputs += 1
        assert not np.array_equal(outputs, binding.outputs()["logits"])


def test_int8_is_read_from_the_graph(tmp_path: Path) -> None:
    engine, info = open_engine(graph(tmp_path / "m.onnx", "int8"), "int8")
    with engine:
        binding = engine.bind(BATCH)
        binding.run()
        exact = BATCH["numbers"] @ WEIGHT
        assert 0 < np.abs(binding.outputs()["logits"] - exact).max() < 0.2
    assert info.precision == "int8"


@pytest.mark.parametrize(("made", "asked"), [("fp32", "int8"), ("int8", "fp32"), ("fp32", "fp16")])
def test_another_precision_than_asked_for_is_refused(tmp_path: Path, made: str, asked: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_engine(graph(tmp_path / "m.onnx", made), asked)
    assert caught.value.what == "onnxruntime did not load fake in the precision that was asked for"
    assert (caught.value.got, caught.value.expected) == (made, asked)


def test_fp16_on_the_cpu_is_refused_because_it_would_be_fp32(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ONNX Runtime's CPU provider computes fp16 graphs in fp32"):
        open_engine(graph(tmp_path / "m.onnx", "fp16"), "fp16")


@pytest.mark.parametrize("size", [0, 1, 50, 200])
def test_a_damaged_graph_is_named(tmp_path: Path, size: int) -> None:
    path = graph(tmp_path / "m.onnx", "fp32")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ConfigError) as caught:
        open_engine(path)
    assert caught.value.what in ("an ONNX file cannot be read", "ONNX Runtime cannot load the graph")
    assert str(path) in (caught.value.got or "")


@pytest.mark.parametrize("options", [{"theads": "2"}, {"device": "tpu"}, {"threads": "many"}])
def test_an_unknown_option_is_refused(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        open_engine(graph(tmp_path / "m.onnx", "fp32"), **options)
    assert str(caught.value) == (
        f"ONNX Runtime does not know an option\n  got:      {options}\n  expected: device=cpu or device=cuda, threads=N"
    )


def test_cuda_that_is_not_there_is_refused(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ConfigError, match="this ONNX Runtime has no CUDAExecutionProvider"):
        open_engine(graph(tmp_path / "m.onnx", "fp32"), device="cuda")


def test_cuda_that_silently_became_cpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime only logs when a provider fails to load; what the session says afterwards counts."""
    ort = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: session)
    with pytest.raises(ConfigError) as caught:
        open_engine(graph(tmp_path / "m.onnx", "fp32"), device="cuda")
    assert caught.value.what == "ONNX Runtime runs on another provider than asked for"
    assert (caught.value.got, caught.value.expected) == ("CPUExecutionProvider", "CUDAExecutionProvider")


def test_a_missing_library_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = graph(tmp_path / "m.onnx", "fp32")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError) as caught:
        open_engine(path)
    assert caught.value.what == "ONNX Runtime is not installed"
    assert caught.value.hint == "pip install 'pytest-gpuperf[cpu]'"


@pytest.mark.parametrize(
    ("batch", "what"),
    [
        ({}, "input 'numbers' is missing"),
        ({"numbers": np.zeros((4, 8))}, "input 'numbers' has the wrong type or shape"),
        ({"numbers": np.zeros((4, 7), np.float32)}, "input 'numbers' has the wrong type or shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path: Path, batch: dict[str, np.ndarray], what: str) -> None:
    engine, _ = open_engine(graph(tmp_path / "m.onnx", "fp32"))
    with engine, pytest.raises(ConfigError) as caught:
        engine.bind(batch)
    assert caught.value.what == what


def test_a_whole_case_in_a_real_process(tmp_path: Path) -> None:
    graph(tmp_path / "tiny.onnx", "fp32")
    model = Model(name="tiny", source="tiny.onnx", inputs=cases.MODEL.inputs, root=str(tmp_path))
    spec = EngineSpec(kind="onnxruntime", model=model)
    worker = Worker.start(log=tmp_path / "log", deadline_s=60)
    try:
        info = worker.open(spec, cases.batches(4, 16), cache=tmp_path / "cache", progress=lambda _: None)
        assert len(info.artefact.sha256) == 64
        np.testing.assert_allclose(worker.evaluate()["logits"], numbers(16, 0)["numbers"] @ WEIGHT, rtol=1e-5)
        assert len(worker.measure(seconds=30, max_calls=20).host_ns) == 20
        assert worker.volley(in_flight=2, seconds=0.1).calls > 2
    finally:
        worker.stop()
