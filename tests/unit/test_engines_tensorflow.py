"""TensorFlow on SavedModels that the tests make: what it computes, what it says it is, and what it refuses."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import cases
from fakes.inputs import numbers

from pytest_gpuperf import engines
from pytest_gpuperf.engines.base import Engine
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, EngineInfo, EngineSpec, TensorSpec

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

WEIGHT = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
BATCH = numbers(4, 0)


@pytest.fixture(scope="module")
def tf() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def saved(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels ``float32``, ``float16``, ``bfloat16`` that compute ``numbers @ weight`` in that type."""
    root = tmp_path_factory.mktemp("saved")
    for dtype in ("float32", "float16", "bfloat16"):
        module = tf.Module()
        module.weight = tf.Variable(tf.cast(WEIGHT, dtype))

        @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="numbers")])
        def serve(numbers: Any, module: Any = module, dtype: str = dtype) -> dict[str, Any]:
            return {"logits": tf.matmul(tf.cast(numbers, dtype), module.weight)}

        tf.saved_model.save(module, str(root / dtype), signatures={"serving_default": serve})
    tf.saved_model.save(tf.Module(), str(root / "unsigned"))
    return root


def open_engine(path: Path, precision: str = "fp32", **options: str) -> tuple[Engine, EngineInfo]:
    spec = EngineSpec(kind="tensorflow", model=cases.MODEL, precision=precision, options=options)
    engine = engines.load("tensorflow")(spec)
    artefact = Artefact(kind="savedmodel", path=str(path), sha256="")
    return engine, engine.open(artefact, cache=path.parent, progress=lambda _: None)


@pytest.mark.parametrize(
    ("precision", "dtype", "out", "tolerance"),
    [
        ("fp32", "float32", "float32", 1e-6),
        ("mixed_float16", "float16", "float16", 1e-2),
        ("mixed_bfloat16", "bfloat16", "float32", 1e-1),  # NumPy has no bfloat16
    ],
)
def test_it_computes_in_the_precision_that_it_says(
    saved: Path, precision: str, dtype: str, out: str, tolerance: float
) -> None:
    engine, info = open_engine(saved / dtype, precision)
    with engine:
        binding = engine.bind(BATCH)
        binding.run()
        logits = binding.outputs()["logits"]
    exact = BATCH["numbers"] @ WEIGHT
    assert logits.dtype.name == out
    np.testing.assert_allclose(logits.astype(np.float32), exact, atol=tolerance * np.abs(exact).max())
    if precision != "fp32":
        assert np.abs(logits - exact).max() > 1e-4
    assert info.precision == precision
    assert (info.device, info.provider) == ("cpu", "TensorFlow")
    assert info.inputs == (TensorSpec(name="numbers", dtype="float32", shape=(-1, 8)),)
    assert info.outputs == (TensorSpec(name="logits", dtype=dtype, shape=(-1, 10)),)


def test_the_mode_is_stated_and_tf32_is_off(saved: Path, tf: Any) -> None:
    engine, info = open_engine(saved / "float32")
    engine.close()
    assert info.mode["tf32"] == "off"
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    assert info.mode["graph"] == "serving_default"
    assert int(info.mode["threads"]) >= 1


def test_another_precision_than_asked_for_is_refused(saved: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_engine(saved / "float16", "fp32")
    assert (caught.value.got, caught.value.expected) == ("mixed_float16", "fp32")


def test_a_gpu_that_is_not_there_is_refused(saved: Path, tf: Any) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError) as caught:
        open_engine(saved / "float32", device="cuda")
    assert caught.value.what == "TensorFlow finds no GPU"


def test_results_on_another_device_are_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_gpuperf.engines.tensorflow.TensorFlowEngine._configure", lambda _: "GPU")
    with pytest.raises(ConfigError) as caught:
        open_engine(saved / "float32")
    assert caught.value.what == "TensorFlow runs on another device than asked for"
    assert "MatMul" in (caught.value.got or "")
    assert (caught.value.got or "").startswith("CPU: 1 x ")
    assert caught.value.expected == "every floating-point operation on GPU"


def test_xla_compiles_the_signature_and_says_so(saved: Path) -> None:
    engine, info = open_engine(saved / "float32", xla="on")
    with engine:
        binding = engine.bind(BATCH)
        binding.run()
        np.testing.assert_allclose(binding.outputs()["logits"], BATCH["numbers"] @ WEIGHT, rtol=1e-5, atol=1e-5)
    assert info.mode["xla"] == "on"


def test_tf32_needs_a_gpu(saved: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_engine(saved / "float32", "tf32")
    assert (caught.value.what, caught.value.got, caught.value.expected) == (
        "TF32 is a number format of NVIDIA's GPUs",
        "device=cpu",
        "device=cuda",
    )


def test_every_transfer_mode_gives_the_same_and_uploads_when_it_says_so(saved: Path, tf: Any) -> None:
    from pytest_gpuperf.engines.tf.runtime import TensorFlowBinding, signature

    _, call = signature(tf, str(saved / "float32"))
    seen: list[int] = []

    def noted(numbers: Any) -> Any:
        seen.append(id(numbers))
        kept.append(numbers)  # so that no id is given twice
        return call(numbers=numbers)

    kept: list[Any] = []
    for device, has_transfers, uploads in ((None, False, 1), ("/CPU:0", True, 3), ("/CPU:0", False, 1)):
        binding = TensorFlowBinding(tf, noted, ["numbers"], BATCH, device=device, has_transfers=has_transfers)
        seen.clear()
        for _ in range(3):
            binding.run()
        assert len(set(seen)) == uploads
        np.testing.assert_allclose(binding.outputs()["logits"], BATCH["numbers"] @ WEIGHT, rtol=1e-5, atol=1e-5)


def test_options_that_come_too_late_are_refused(saved: Path) -> None:
    open_engine(saved / "float32")[0].close()
    with pytest.raises(ConfigError, match="threads and devices cannot change in a process that has used it"):
        open_engine(saved / "float32", threads="1000")


@pytest.mark.parametrize(
    "options", [{"theads": "2"}, {"device": "tpu"}, {"threads": "many"}, {"xla": "maybe"}, {"transfers": "in"}]
)
def test_an_unknown_option_is_refused(saved: Path, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="TensorFlow does not know an option"):
        open_engine(saved / "float32", **options)


@pytest.mark.parametrize("damage", ["missing", "truncated", "unsigned"])
def test_a_damaged_savedmodel_is_named(saved: Path, tmp_path: Path, damage: str) -> None:
    path = saved / "unsigned" if damage == "unsigned" else tmp_path / "model"
    if damage == "truncated":
        path.mkdir()
        content = (saved / "float32" / "saved_model.pb").read_bytes()
        (path / "saved_model.pb").write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError) as caught:
        open_engine(path)
    assert caught.value.what == "a SavedModel cannot be loaded"
    assert (caught.value.got or "").startswith(f"{path}: ")


def test_a_missing_library_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ConfigError) as caught:
        open_engine(Path("nowhere"))
    assert caught.value.what == "TensorFlow is not installed"
    assert caught.value.hint == "pip install 'pytest-gpuperf[cpu]'"
