"""How often INT8 names another class than FP32, on images that no choice was made on: TensorRT's graphs of ResNet-50.

    python benchmarks/int8_seeds.py --samples 256 --seeds 1 2 3 4                                     # ONNX Runtime
    python benchmarks/int8_seeds.py --samples 256 --seeds 1 2 3 4 --bundle BUNDLE --cache WORK/cache  # TensorRT

The calibration method was chosen on the images of seed 1. ONNX Runtime's CPU provider computes the same Q/DQ pairs;
with a bundle, TensorRT runs the engines of the suite, from the cache if they are there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

BATCH = 16
Answers = Callable[[dict[str, np.ndarray]], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--cache", type=Path, default=ROOT / ".gpuperf" / "cache")
    parser.add_argument("--bundle", type=Path, help="run TensorRT with this bundle's graphs")
    arguments = parser.parse_args()
    runtime = onnxruntime if arguments.bundle is None else tensorrt
    answers = {precision: runtime(precision, arguments) for precision in ("fp32", "int8")}
    for seed in arguments.seeds:
        batches = images(seed, arguments.samples)
        classes = {precision: np.concatenate([run(batch) for batch in batches]) for precision, run in answers.items()}
        agreement = float((classes["fp32"] == classes["int8"]).mean())
        found = {"seed": seed, "samples": arguments.samples, "agreement": agreement}
        print(json.dumps({**found, "classes": len(set(classes["fp32"].tolist()))}), flush=True)


def images(seed: int, samples: int) -> list[dict[str, np.ndarray]]:
    from pytest_gpuperf import inputs
    from pytest_gpuperf.records import BatchSpec

    return list(inputs.load(BatchSpec(inputs="images-224", batch=BATCH, samples=samples, seed=seed)).batches())


def onnxruntime(precision: str, arguments: argparse.Namespace) -> Answers:
    """Return a function that names the class of each image of a batch, by ONNX Runtime."""
    import onnxruntime as ort

    from pytest_gpuperf import convert
    from pytest_gpuperf.convert.cache import Cache

    graph = convert.prepare(
        model(), kind="tensorrt", precision=precision, cache=Cache(arguments.cache), progress=lambda _: None
    )
    session = ort.InferenceSession(graph.path, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, batch)[0].argmax(axis=1)


def tensorrt(precision: str, arguments: argparse.Namespace) -> Answers:
    """Return a function that names the class of each image of a batch, by the suite's TensorRT engine."""
    from pytest_gpuperf import engines
    from pytest_gpuperf.convert.bundle import Bundle
    from pytest_gpuperf.records import EngineSpec

    how: dict[str, Any] = {
        "fp32": {"max_batch": 256, "options": {"opt_batch": "8"}},
        "int8": {"max_batch": 64, "options": {"opt_batch": "64", "streams": "2"}},
    }
    engine = engines.load("tensorrt")(EngineSpec(kind="tensorrt", model=model(), precision=precision, **how[precision]))
    graph = Bundle(arguments.bundle).artefact("resnet50", precision, cache=arguments.cache)
    engine.open(graph, cache=arguments.cache, progress=print)

    def run(batch: dict[str, np.ndarray]) -> np.ndarray:
        binding = engine.bind(batch)
        binding.run()
        return next(iter(binding.outputs().values())).argmax(axis=1)

    return run


def model() -> Any:
    from pytest_gpuperf.records import Model

    return Model(name="resnet50", source="vision/model.py:build", inputs="images-224", root=str(ROOT / "suites"))


if __name__ == "__main__":
    main()
