"""Scaling efficiency over all GPUs of this host, or over N cores: ``python benchmarks/scaling.py [--cores N]``.

The engine multiplies matrices with PyTorch on GPUs, with NumPy on cores; inputs travel from the host in every call.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

from fakes.engine import FakeEngine  # noqa: E402 - only its opening is used: no model is read

from pytest_gpuperf import hardware, scaling  # noqa: E402
from pytest_gpuperf.records import BatchSpec, EngineSpec, Model  # noqa: E402
from pytest_gpuperf.scaling import ScalingBudget  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gpuperf.engines.base import Arrays, Binding

SIDE = 2048


class Matmul(FakeEngine):
    """Ten products of square matrices a call, on the device that the worker sees."""

    def bind(self, arrays: Arrays) -> Binding:
        binding = super().bind(arrays)
        sent = next(iter(arrays.values()))
        binding.run = _on_gpu(sent) if os.environ.get("GPUPERF_MATMUL") == "gpu" else _on_core(sent)
        return binding


def _on_gpu(sent: np.ndarray) -> Callable[[], None]:
    import torch

    square = torch.randn(SIDE, SIDE, device="cuda", dtype=torch.float16)
    host = torch.from_numpy(sent).pin_memory()

    def run() -> None:
        host.to("cuda", non_blocking=True)
        product = square
        for _ in range(10):
            product = product @ square
        torch.cuda.synchronize()

    return run


def _on_core(sent: np.ndarray) -> Callable[[], None]:
    square = np.ones((128, 128), np.float32)

    def run() -> None:
        sent.copy()
        for _ in range(10):
            square @ square

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    os.environ["GPUPERF_MATMUL"] = "cpu" if options.cores else "gpu"
    devices = scaling.cores()[: options.cores] if options.cores else scaling.gpus(hardware.probe().gpus)
    model = Model(name="matmul", source="none", inputs="fakes/inputs.py:numbers", root=str(HERE.parent / "tests"))
    engine = EngineSpec(kind="scaling:Matmul", model=model, precision="fp32")
    batches = BatchSpec(inputs=model.inputs, batch=32, samples=128, root=model.root)
    with (
        tempfile.TemporaryDirectory() as folder,
        scaling.crew(devices, engine, batches, cache=Path(folder), logs=Path(folder)) as crew,
    ):
        found = crew.measure(ScalingBudget(rounds=options.rounds))
    print("\n".join(found.lines()))


if __name__ == "__main__":
    main()
