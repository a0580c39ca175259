"""The models of the product's own suites; copy this file to start a suite of your own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_gpuperf import Model

HERE = str(Path(__file__).parent)

MODELS = [
    Model(name="digits", source="digits/model.py:build", inputs="digits/model.py:inputs", root=HERE),
    Model(name="resnet50", source="vision/model.py:build", inputs="images-224", root=HERE),
    Model(name="bert_base", source="language/model.py:build", inputs="tokens-128", root=HERE),
]


def pytest_gpuperf_models() -> list[Model]:
    return MODELS


@pytest.fixture
def gpu_only(server_profile):
    """Skip where the server profile has no GPU."""
    if not server_profile.is_gpu:
        pytest.skip(f"this test needs a GPU, and the server profile {server_profile.name!r} has none")
