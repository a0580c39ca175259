"""A plain piece of work as an engine, with a slowdown that can be asked for: what the certificate is measured with.

Options, all optional:

    work           ``file.py:function`` relative to the model's root; called once, returns the function that is timed.
                   Default: a matrix product of a few hundred microseconds on one thread.
    slowdown_pct   every call is made longer by this much of its own time, by spinning. The spin is set anew in every
                   call, so that the injected effect is the nominal one whatever the machine does meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pytest_gpuperf.engines.base import Binding, Engine, Progress
from pytest_gpuperf.records import Artefact, EngineInfo, TensorSpec
from pytest_gpuperf.script import Script

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_gpuperf.engines.base import Arrays

Work = Callable[[], object]
#: Input set of this engine, for ``BatchSpec(inputs=INPUTS, root=ROOT)``.
INPUTS, ROOT = f"{Path(__file__).name}:nothing", str(Path(__file__).parent)
_SIZE = 160


class Workload(Engine):
    """Runs one Python function per inference."""

    artefact_kind: ClassVar[str] = "none"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)

    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo:
        del cache  # nothing is built
        work = self.spec.options.get("work")
        make = matrix_product if work is None else Script.find(work, self.spec.model.root).load()
        progress("opening the workload")
        self._work: Work = make()
        return EngineInfo(
            kind=self.spec.kind,
            device="cpu",
            provider="Python",
            precision=self.spec.precision,
            artefact=artefact,
            inputs=(),
            outputs=(TensorSpec(name="done", dtype="float32", shape=(-1,)),),
        )

    def _bind(self, batch: Arrays) -> WorkBinding:
        return WorkBinding(self._work, len(batch["nothing"]), float(self.spec.options.get("slowdown_pct", "0")))

    def _close(self) -> None:
        del self._work


class WorkBinding(Binding):
    """Calls the function, then spins for the share of its time that was asked for."""

    def __init__(self, work: Work, batch: int, slowdown_pct: float) -> None:
        self._work = work
        self._done = np.zeros(batch, np.float32)
        self._longer = slowdown_pct / 100

    def run(self) -> None:
        """Work, and spin."""
        started = perf_counter_ns()
        self._work()
        ended = perf_counter_ns()
        until = ended + (ended - started) * self._longer
        while perf_counter_ns() < until:
            pass

    def outputs(self) -> dict[str, NDArray[np.generic]]:
        """Return zeros: nothing is computed that anyone looks at."""
        return {"done": self._done.copy()}


def nothing(samples: int, seed: int) -> dict[str, NDArray[np.generic]]:
    """Return the input that the workload ignores."""
    del seed
    return {"nothing": np.zeros((samples, 1), np.float32)}


def matrix_product() -> Work:
    """Return a product of two seeded square matrices."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, _SIZE, _SIZE)).astype(np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)
