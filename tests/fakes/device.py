"""A stand-in for an accelerator: a call takes a fixed time and a little for each sample, and no processor meanwhile.

Its batch curve is what dynamic batching lives on: 20 ms for one sample, 28 ms for eight.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pytest_gpuperf.engines.base import Binding, Engine, Progress
from pytest_gpuperf.records import Artefact, EngineInfo, TensorSpec

Arrays = Mapping[str, np.ndarray]
FIXED_S, SAMPLE_S = 19e-3, 1e-3


class Device(Engine):
    artefact_kind = "none"
    precisions = ("fp32",)

    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo:
        return EngineInfo(
            kind=self.spec.kind,
            device="cpu",
            provider="stand-in",
            precision="fp32",
            artefact=artefact,
            inputs=(TensorSpec(name="images", dtype="float32", shape=(-1, 8, 8, 1)),),
            outputs=(TensorSpec(name="sums", dtype="float32", shape=(-1, 1)),),
        )

    def _bind(self, batch: Arrays) -> Binding:
        return Call(batch)

    def _close(self) -> None:
        pass


class Call(Binding):
    def __init__(self, batch: Arrays) -> None:
        self.refill(batch)

    def refill(self, batch: Arrays) -> None:
        self._images = batch["images"]

    def run(self) -> None:
        time.sleep(FIXED_S + SAMPLE_S * len(self._images))

    def outputs(self) -> dict[str, np.ndarray]:
        return {"sums": self._images.reshape(len(self._images), -1).sum(axis=1, keepdims=True, dtype=np.float32)}
