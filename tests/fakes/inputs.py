"""Input sets for the fake engine, named as ``BatchSpec(inputs="fakes/inputs.py:numbers", root="tests")``."""

from __future__ import annotations

import numpy as np


def numbers(samples: int, seed: int) -> dict[str, np.ndarray]:
    """Return eight seeded normal numbers a sample."""
    return {"numbers": np.random.default_rng(seed).normal(size=(samples, 8)).astype(np.float32)}
