"""Engines are really built, for GPUs that this machine does not have: TensorRT-RTX needs none to build."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_gpuperf import convert
from pytest_gpuperf.convert import fp16
from pytest_gpuperf.convert.cache import Cache
from pytest_gpuperf.engines import tensorrt
from pytest_gpuperf.engines.trt import versions
from pytest_gpuperf.engines.trt.builder import Plan, build
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import EngineSpec, Model

pytest.importorskip("tensorrt_rtx_bindings")

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("GPUPERF_CACHE", ROOT / ".gpuperf" / "cache"))
SUITES = str(ROOT / "suites")
DIGITS = Model(name="digits", source="digits/model.py:build", inputs="digits/model.py:inputs", root=SUITES)
RESNET50 = Model(name="resnet50", source="vision/model.py:build", inputs="images-224", root=SUITES)
BERT_BASE = Model(name="bert_base", source="language/model.py:build", inputs="tokens-128", root=SUITES)
GPUS = {"8.0": "A100", "8.6": "A40", "8.9": "RTX 6000 Ada"}


def engine(graph: Path, precision: str, compute_capability: str, max_batch: int = 8) -> bytes:
    plan = Plan(precision=precision, opt_batch=max_batch, max_batch=max_batch, compute_capability=compute_capability)
    return build(versions.load("tensorrt-rtx"), graph, plan).engine


def graph_of(folder: Path, *nodes: onnx.NodeProto, rank: int = 4, **tensors: np.ndarray) -> Path:
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [f"y{axis}" for axis in range(rank)])
    graph = helper.make_graph(list(nodes), "graph", [x], [y], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "graph.onnx")
    return folder / "graph.onnx"


def convolution(folder: Path) -> Path:
    kernel = np.random.default_rng(0).standard_normal((4, 3, 3, 3), np.float32)
    return graph_of(folder, helper.make_node("Conv", ["x", "kernel"], ["y"], name="conv"), kernel=kernel)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("compute_capability", GPUS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_digits(precision, compute_capability):
    artefact = convert.prepare(DIGITS, kind="tensorrt", precision=precision, cache=Cache(CACHE), progress=print)
    assert len(engine(Path(artefact.path), precision, compute_capability)) > 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # a cold conversion runs Keras and tf2onnx, which warn
@pytest.mark.parametrize("compute_capability", GPUS)
@pytest.mark.parametrize(
    ("model", "precision"),
    [(model, precision) for model in (RESNET50, BERT_BASE) for precision in ("fp32", "fp16", "int8")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_large_models(model, precision, compute_capability):
    artefact = convert.prepare(model, kind="tensorrt", precision=precision, cache=Cache(CACHE), progress=print)
    spec = EngineSpec(kind="tensorrt", model=model, precision=precision, max_batch=1)
    release = versions.load("tensorrt-rtx")
    built = tensorrt.stored(release, spec, artefact, compute_capability, cache=CACHE, progress=print).engine
    # The engine holds the weights: those of an FP32 engine weigh twice those of an FP16 one.
    full = {"resnet50": 100e6, "bert_base": 430e6}[model.name]
    least, most = {"fp32": (1, 1.2), "fp16": (0.5, 0.6), "int8": (0.24, 0.65)}[precision]
    assert least * full < len(built) < most * full


def test_lower_precision_is_in_the_engine(tmp_path):
    generator = np.random.default_rng(0)
    weights = {f"w{index}": generator.standard_normal((256, 256), np.float32) for index in range(8)}
    names = ["flat", *(f"h{index}" for index in range(7)), "y"]
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "w"], ["flat"], name="widen"),
        *(
            helper.make_node("MatMul", [names[index], f"w{index}"], [names[index + 1]], name=f"product{index}")
            for index in range(8)
        ),
    ]
    full = graph_of(tmp_path, *nodes, rank=2, w=generator.standard_normal((3, 256), np.float32), **weights)
    fp16.convert(full, tmp_path / "half.onnx")
    sizes = [len(engine(path, "fp32", "8.6")) for path in (full, tmp_path / "half.onnx")]
    assert sizes[1] < 0.7 * sizes[0]


def test_an_unsupported_operator(tmp_path):
    graph = graph_of(tmp_path, helper.make_node("Det", ["x"], ["y"], name="head/det"), rank=2)
    with pytest.raises(ConfigError) as caught:
        engine(graph, "fp32", "8.6")
    assert str(caught.value) == (
        f"tensorrt-rtx {versions.load('tensorrt-rtx').version} cannot parse graph.onnx\n"
        "  got:      node 'head/det' (op Det): TensorRT does not support this operator\n"
        "  next:     change the model or its conversion, or use another engine for it"
    )


def test_asymmetric_quantization(tmp_path):
    graph = graph_of(
        tmp_path,
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="input/quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], name="input/dequantize"),
        scale=np.array(0.1, np.float32),
        zero=np.array(3, np.int8),
    )
    with pytest.raises(ConfigError, match=r"node 'input/quantize' \(op QuantizeLinear\): .*zero point"):
        engine(graph, "int8", "8.6")


def test_mixed_types_are_refused_and_the_converter_makes_none(tmp_path):
    mask = helper.make_node("Cast", ["x"], ["half"], name="mask/cast", to=TensorProto.FLOAT16)
    mixed = graph_of(tmp_path, mask, helper.make_node("Mul", ["x", "half"], ["y"], name="mask/mul"))
    with pytest.raises(ConfigError, match=r"node 'mask/mul'"):
        engine(mixed, "fp16", "8.6")
    cast = helper.make_node("Cast", ["x"], ["i"], name="mask/int", to=TensorProto.INT32)
    back = helper.make_node("Cast", ["i"], ["f"], name="mask/float", to=TensorProto.FLOAT)
    full = graph_of(tmp_path, cast, back, helper.make_node("Mul", ["x", "f"], ["y"], name="mask/mul"))
    fp16.convert(full, tmp_path / "half.onnx")
    assert engine(tmp_path / "half.onnx", "fp16", "8.6")


def test_a_gpu_that_it_cannot_build_for(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot build for compute capability 9\.0") as caught:
        engine(convolution(tmp_path), "fp32", "9.0")
    assert caught.value.expected is not None
    assert {"8.0", "8.6", "8.9"} <= set(caught.value.expected.removeprefix("one of ").split(", "))


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match=r"cannot parse graph\.onnx"):
        engine(tmp_path / "graph.onnx", "fp32", "8.6")


def test_an_impossible_shape_profile():
    with pytest.raises(ConfigError, match="a shape profile needs") as caught:
        Plan(precision="fp32", min_batch=8, opt_batch=4, max_batch=8)
    assert caught.value.got == "8, 4, 8"
