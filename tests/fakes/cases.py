"""Specs for the fake engine, so that a test says only what matters to it."""

from __future__ import annotations

from pathlib import Path

from pytest_gpuperf.records import BatchSpec, EngineSpec, Model

TESTS = Path(__file__).parents[1]
KIND = "fakes.engine:FakeEngine"
MODEL = Model(name="fake", source="none", inputs="fakes/inputs.py:numbers", root=str(TESTS))


def engine(precision: str = "fp32", **options: str) -> EngineSpec:
    """Return a fake engine's spec; ``options`` are those of :mod:`fakes.engine`."""
    return EngineSpec(kind=KIND, model=MODEL, precision=precision, options=options)


def batches(batch: int = 4, samples: int = 16) -> BatchSpec:
    """Return seeded numbers."""
    return BatchSpec(inputs=MODEL.inputs, batch=batch, samples=samples, root=MODEL.root)
