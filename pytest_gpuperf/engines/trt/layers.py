"""The layers of a built engine, as TensorRT's engine inspector and profiler name them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

#: How TensorRT's releases write element types, in lower case → precision.
PRECISIONS = {
    "float": "fp32",
    "fp32": "fp32",
    "half": "fp16",
    "fp16": "fp16",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "int8": "int8",
    "fp8": "fp8",
}
_ARITHMETIC = ("conv", "gemm", "matmul", "matrixmultiply", "matrix_multiply", "fullyconnected")


def precision(inspection: str) -> str | None:
    """Return the precision that most of the engine's arithmetic runs in, or ``None`` where it does not tell.

    Layers that hold weights vote with their number of weights; if none says, layers that multiply vote by the type of
    their first input. Reformats, casts and fused regions without detail (TensorRT 8.6 shows a whole transformer as
    one) have no vote.

    Args:
        inspection: the inspector's JSON, written by an engine that was built with detailed verbosity.
    """
    layers = [layer for layer in json.loads(inspection, strict=False).get("Layers", ()) if isinstance(layer, dict)]
    votes: Counter[str] = Counter()
    for layer in layers:
        weights = layer.get("Weights")
        if isinstance(weights, dict) and int(weights.get("Count", 0)) > 0:
            _vote(votes, str(weights.get("Type", "")), int(weights["Count"]))
    if not votes:
        for layer in layers:
            if any(word in _describe(layer) for word in _ARITHMETIC) and layer.get("Inputs"):
                _vote(votes, _type(layer["Inputs"][0]), 1)
    return votes.most_common(1)[0][0] if votes else None


def _vote(votes: Counter[str], text: str, weight: int) -> None:
    words = text.replace("(", " ").lower().split()
    found = next((PRECISIONS[word] for word in words if word in PRECISIONS), None)
    if found is not None:
        votes[found] += weight


def _describe(layer: Mapping[str, Any]) -> str:
    """Return what says what the layer does; its name may list everything that was fused into a region."""
    return f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}".lower()


def _type(tensor: Any) -> str:
    return str(tensor.get("Format/Datatype") or tensor.get("Datatype") or "") if isinstance(tensor, dict) else ""
