"""The engine contract: one runtime behind ``open``, ``bind`` and ``close``.

The public methods check, the private ones work. An engine lives in a worker process, never in pytest's own: it may
segfault, hang or leak, and costs exactly one test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from pytest_gpuperf.errors import ConfigError, EngineError
from pytest_gpuperf.records import Artefact, EngineInfo, EngineSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]

Progress = Callable[[str], None]


class Binding(ABC):
    """One batch bound to an engine, ready to be run again and again.

    All preparation (contiguous copies, device buffers, feeds) is done when the binding is made, so that ``run`` is
    nothing but the inference. Bindings of one engine may run in different threads at once.
    """

    @abstractmethod
    def run(self) -> None:
        """Run one inference; return when the result is where the mode says it must be."""

    @abstractmethod
    def outputs(self) -> dict[str, NDArray[np.generic]]:
        """Return host copies of the last run's outputs, each of shape ``(batch, …)``."""

    def refill(self, batch: Arrays) -> None:  # noqa: ARG002 - for those that can
        """Replace the bound inputs by others of the same shapes; only where the engine can, as a server needs it."""
        raise EngineError("this engine cannot be given other inputs")

    def device_ns(self) -> int:
        """Return the last run's time by the device's clock, in nanoseconds; only where the engine has one."""
        raise EngineError("this engine has no device clock")


class Engine(ABC):
    """A model loaded in one runtime.

    Subclasses set :attr:`artefact_kind` and implement ``_open``, ``_bind`` and ``_close``; heavy imports belong
    inside ``_open``.
    """

    #: What the engine is made from: ``savedmodel``, ``onnx``, ``tensorrt`` or ``none`` (the engine needs no file).
    artefact_kind: ClassVar[str]
    #: Precisions that the engine can be asked for.
    precisions: ClassVar[tuple[str, ...]]

    def __init__(self, spec: EngineSpec) -> None:
        if spec.precision not in self.precisions:
            raise ConfigError(
                f"engine {spec.kind!r} has no precision {spec.precision!r}",
                expected=f"one of {', '.join(self.precisions)}",
            )
        self.spec = spec
        self.info: EngineInfo | None = None

    @property
    def artefact_precision(self) -> str:
        """Precision of the artefact to load: the engine's own, unless the engine is what changes it."""
        return self.spec.precision

    def open(self, artefact: Artefact, *, cache: Path, progress: Progress) -> EngineInfo:
        """Load the artefact and return what the engine really is.

        Args:
            artefact: of the kind that :attr:`artefact_kind` names.
            cache: folder for what the engine builds itself (TensorRT engines, timing caches).
            progress: called with one line per long step.

        Raises:
            ConfigError: the runtime is missing, or gives another device or precision than was asked for.
            EngineError: the runtime failed.
        """
        if self.info is not None:
            raise EngineError("engine is open already")
        info = self._open(artefact, cache, progress)
        if info.precision != self.spec.precision:
            self._close()
            raise ConfigError(
                f"{self.spec.kind} did not load {self.spec.model.name} in the precision that was asked for",
                got=info.precision,
                expected=self.spec.precision,
                hint="no measurement was made; rebuild the artefact or ask for the precision that it has",
            )
        self.info = info
        return info

    def bind(self, batch: Arrays) -> Binding:
        """Bind one batch of arrays, each ``(batch, …)``, by input name.

        Raises:
            ConfigError: an input is missing, or has another dtype or shape than the engine's.
        """
        if self.info is None:
            raise EngineError("engine is not open")
        for tensor in self.info.inputs:
            array = batch.get(tensor.name)
            if array is None:
                raise ConfigError(
                    f"input {tensor.name!r} is missing", got=", ".join(sorted(batch)), expected=_names(self.info)
                )
            if array.dtype.name != tensor.dtype or not _fits(array.shape, tensor.shape):
                raise ConfigError(
                    f"input {tensor.name!r} has the wrong type or shape",
                    got=f"{array.dtype.name} {array.shape}",
                    expected=f"{tensor.dtype} {tensor.shape} (-1 = any)",
                )
        return self._bind(batch)

    def profile(self, batch: Arrays, *, calls: int) -> dict[str, float]:
        """Return how long each layer takes, in milliseconds, in order: medians over calls under the runtime's profiler.

        Layers are those that the runtime made of the graph. A profiler slows every call, so their sum is no latency.

        Raises:
            ConfigError: the engine has no profiler.
        """
        if self.info is None:
            raise EngineError("engine is not open")
        runs = self._profile(batch, calls)
        names = dict.fromkeys(name for run in runs for name in run)
        return {name: median(run.get(name, 0.0) for run in runs) for name in names}

    def _profile(self, batch: Arrays, calls: int) -> Sequence[Mapping[str, float]]:  # noqa: ARG002 - for those that can
        """Return each call's time by layer, in milliseconds; a layer that runs several times in a call is summed."""
        raise ConfigError(
            f"engine {self.spec.kind!r} cannot tell what each layer takes", expected="tensorrt, onnxruntime"
        )

    def close(self) -> None:
        """Free the engine; closing twice is harmless."""
        if self.info is not None:
            self.info = None
            self._close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo: ...

    @abstractmethod
    def _bind(self, batch: Arrays) -> Binding: ...

    @abstractmethod
    def _close(self) -> None: ...


def _names(info: EngineInfo) -> str:
    return ", ".join(sorted(tensor.name for tensor in info.inputs))


def _fits(actual: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(actual) == len(declared) and all(want in (-1, have) for have, want in zip(actual, declared, strict=True))
