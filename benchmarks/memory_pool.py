"""What the memory gauge reads while TensorFlow allocates from CUDA's pool, beside what TensorFlow says itself.

TF_GPU_ALLOCATOR=cuda_malloc_async is set here; the SavedModel of ResNet-50 comes from the cache.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["TF_GPU_ALLOCATOR"] = "cuda_malloc_async"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    arguments = parser.parse_args()

    import tensorflow as tf

    from pytest_gpuperf import convert, engines, inputs
    from pytest_gpuperf.convert.cache import Cache
    from pytest_gpuperf.records import BatchSpec, EngineSpec, Model
    from pytest_gpuperf.worker import memory
    from pytest_gpuperf.worker.loop import Loop

    def tell(when: str) -> None:
        pool, heap = memory.pool(ctypes.CDLL("libcuda.so.1")), memory.held()
        try:
            own = tf.config.experimental.get_memory_info("GPU:0")
        except (ValueError, RuntimeError) as error:
            own = {"error": str(error)}
        print(json.dumps({"when": when, "pool_mib": pool, "held_mib": heap, "tensorflow": own}), flush=True)

    model = Model(name="resnet50", source="vision/model.py:build", inputs="images-224", root=str(ROOT / "suites"))
    spec = EngineSpec(kind="tensorflow", model=model, precision="fp32", max_batch=64, options={"device": "cuda"})
    engine = engines.load("tensorflow")(spec)
    artefact = convert.prepare(model, kind="savedmodel", precision="fp32", cache=Cache(arguments.cache), progress=print)
    tell("before the engine is open")
    engine.open(artefact, cache=arguments.cache, progress=print)
    tell("the engine is open")
    for size in (8, 64):
        batch = inputs.load(BatchSpec(inputs="images-224", batch=size, samples=size, seed=1)).arrays
        volley = Loop(engine, [batch], batch=size).volley(in_flight=1, seconds=0.5)
        tell(f"batch {size}, volley held {volley.held_mib}")


if __name__ == "__main__":
    main()
