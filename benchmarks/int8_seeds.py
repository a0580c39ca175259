"""How often INT8 names another class than FP32, on images that no choice was made on: ONNX Runtime, TensorRT's graphs.

    python benchmarks/int8_seeds.py --samples 256 --seeds 1 2 3 4

The calibration method was chosen on the images of seed 1. ONNX Runtime's CPU provider computes the same Q/DQ pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--cache", type=Path, default=ROOT / ".gpuperf" / "cache")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        classes = {precision: answers(precision, seed, arguments) for precision in ("fp32", "int8")}
        agreement = float((classes["fp32"] == classes["int8"]).mean())
        found = {"seed": seed, "samples": arguments.samples, "agreement": agreement}
        print(json.dumps({**found, "classes": len(set(classes["fp32"].tolist()))}), flush=True)


def answers(precision: str, seed: int, arguments: argparse.Namespace) -> np.ndarray:
    """Return the class that each image is given."""
    import onnxruntime

    from pytest_gpuperf import convert, inputs
    from pytest_gpuperf.convert.cache import Cache
    from pytest_gpuperf.records import BatchSpec, Model

    model = Model(name="resnet50", source="vision/model.py:build", inputs="images-224", root=str(ROOT / "suites"))
    graph = convert.prepare(
        model, kind="tensorrt", precision=precision, cache=Cache(arguments.cache), progress=lambda _: None
    )
    session = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"])
    spec = BatchSpec(inputs="images-224", batch=16, samples=arguments.samples, seed=seed)
    found = [session.run(None, batch)[0].argmax(axis=1) for batch in inputs.load(spec).batches()]
    return np.concatenate(found)


if __name__ == "__main__":
    main()
