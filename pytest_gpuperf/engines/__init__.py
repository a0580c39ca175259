"""The engine table: kind → ``module:class``. Nothing is imported until a kind is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pytest_gpuperf.errors import ConfigError

if TYPE_CHECKING:
    from pytest_gpuperf.engines.base import Engine

ENGINES: dict[str, str] = {
    "onnxruntime": "pytest_gpuperf.engines.onnxruntime:OnnxRuntimeEngine",
    "tensorflow": "pytest_gpuperf.engines.tensorflow:TensorFlowEngine",
    "tensorrt": "pytest_gpuperf.engines.tensorrt:TensorRTEngine",
    "tftrt": "pytest_gpuperf.engines.tftrt:TfTrtEngine",
}
ENTRY_POINT_GROUP = "pytest_gpuperf.engines"


def known() -> dict[str, str]:
    """Return all engine kinds, built in and registered under the ``pytest_gpuperf.engines`` entry points."""
    from importlib.metadata import entry_points  # reads what every installed package says: only where it must

    registered = {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return {**registered, **ENGINES}


def load(kind: str) -> type[Engine]:
    """Import and return the engine class for ``kind``.

    Args:
        kind: a name of the table, or ``module:Class`` for an engine that is not registered.

    Raises:
        ConfigError: unknown kind, or its module lacks the class.
    """
    target = kind if ":" in kind else ENGINES.get(kind) or known().get(kind)
    if target is None:
        raise ConfigError(
            "unknown engine kind", got=repr(kind), expected=f"one of {', '.join(sorted(known()))}, or 'module:Class'"
        )
    module, _, name = target.partition(":")
    try:
        engine: type[Engine] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"engine kind {kind!r} cannot be loaded", got=str(error), expected=f"a class at {target}"
        ) from error
    return engine
