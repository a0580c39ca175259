"""The engine contract: what every runtime is checked for before and after it is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import cases
from fakes.engine import FakeEngine

from pytest_gpuperf.engines.base import Binding
from pytest_gpuperf.errors import ConfigError, EngineError
from pytest_gpuperf.worker.server import NO_ARTEFACT

BATCH = {"numbers": np.zeros((4, 3), np.float32)}


def opened(**options: str) -> FakeEngine:
    engine = FakeEngine(cases.engine(**options))
    engine.open(NO_ARTEFACT, cache=Path(), progress=lambda _: None)
    return engine


def test_an_unknown_precision_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="has no precision 'fp4'") as caught:
        FakeEngine(cases.engine("fp4"))
    assert "one of fp32, fp16, int8" in str(caught.value)


def test_an_engine_is_open_once() -> None:
    engine = opened()
    with pytest.raises(EngineError, match="engine is open already"):
        engine.open(NO_ARTEFACT, cache=Path(), progress=lambda _: None)


def test_nothing_is_bound_to_an_engine_that_is_not_open() -> None:
    with pytest.raises(EngineError, match="engine is not open"):
        FakeEngine(cases.engine()).bind(BATCH)


def test_leaving_the_context_closes_it_and_closing_twice_is_harmless() -> None:
    with opened() as engine:
        engine.kept.append(bytearray(1))
        assert engine.bind(BATCH)
    assert engine.info is None
    assert engine.kept == []
    engine.close()


def test_another_precision_than_asked_for_is_closed_again() -> None:
    engine = FakeEngine(cases.engine(got_precision="fp16"))
    with pytest.raises(ConfigError, match="in the precision that was asked for") as caught:
        engine.open(NO_ARTEFACT, cache=Path(), progress=lambda _: None)
    assert "got:      fp16" in str(caught.value)
    assert engine.info is None


def test_an_engine_without_a_device_clock_says_so() -> None:
    class Plain(Binding):
        def run(self) -> None: ...

        def outputs(self) -> dict[str, np.ndarray]:
            return {}

    with pytest.raises(EngineError, match="has no device clock"):
        Plain().device_ns()
