"""The eight pieces of work that error rates are measured on: 0.2 … 16 ms, one thread unless the name says otherwise.

Each function returns the function that is timed. Networks are made once, with seeded weights, in the folder that
``GPUPERF_WORKLOADS`` names.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

Work = Callable[[], object]
NAMES = ("cnn_tiny", "cnn_small", "cnn_medium", "cnn_large", "cnn_two_threads", "product", "python", "sort")


def _network(path: Path, channels: int, size: int, layers: int) -> None:
    """Write a stack of 3 x 3 convolutions and ReLU."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights, last, width = [], [], "x", 3
    for layer in range(layers):
        kernel = rng.normal(size=(channels, width, 3, 3)).astype(np.float32) / math.sqrt(9 * width)
        weights.append(numpy_helper.from_array(kernel, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        last, width = f"r{layer}", channels
    shapes = ([1, 3, size, size], [1, channels, size, size])
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(("x", last), shapes, strict=True)
    ]
    graph = helper.make_graph(nodes, "cnn", infos[:1], infos[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    part = path.with_suffix(f".{os.getpid()}")
    onnx.save(model, str(part))
    part.replace(path)


def _cnn(channels: int, size: int, layers: int, threads: int = 1) -> Work:
    import onnxruntime as ort

    folder = Path(os.environ["GPUPERF_WORKLOADS"])
    path = folder / f"cnn-{channels}-{size}-{layers}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _network(path, channels, size, layers)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # As the product's engine: else the threads of one side spin on into the other's block.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {"x": np.random.default_rng(1).normal(size=(1, 3, size, size)).astype(np.float32)}
    return lambda: session.run(None, feeds)


def cnn_tiny() -> Work:
    """Return a network of about 0.2 ms."""
    return _cnn(8, 32, 4)


def cnn_small() -> Work:
    """Return a network of about 1 ms."""
    return _cnn(16, 56, 4)


def cnn_medium() -> Work:
    """Return a network of about 4 ms."""
    return _cnn(32, 56, 6)


def cnn_large() -> Work:
    """Return a network of about 16 ms."""
    return _cnn(64, 56, 6)


def cnn_two_threads() -> Work:
    """Return the medium network on both cores."""
    return _cnn(32, 56, 6, threads=2)


def product() -> Work:
    """Return a matrix product."""
    a, b = np.random.default_rng(0).normal(size=(2, 256, 256)).astype(np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def python() -> Work:
    """Return a loop of pure Python."""

    def loop() -> int:
        total = 0
        for number in range(20_000):
            total += number * number % 7
        return total

    return loop


def sort() -> Work:
    """Return a sort of 50,000 numbers."""
    values = np.random.default_rng(0).normal(size=50_000)
    return lambda: np.sort(values)
