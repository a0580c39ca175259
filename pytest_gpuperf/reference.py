"""What an engine is measured against unless the test says otherwise."""

from __future__ import annotations

from pathlib import Path

from pytest_gpuperf.records import EngineSpec, Model


def default(model: Model, *, max_batch: int) -> EngineSpec:
    """Return the model in FP32: by TensorFlow, or by ONNX Runtime where the model comes as ONNX."""
    kind = "onnxruntime" if Path(model.source).suffix == ".onnx" else "tensorflow"
    return EngineSpec(kind=kind, model=model, precision="fp32", max_batch=max_batch)
