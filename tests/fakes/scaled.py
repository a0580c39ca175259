"""A fake engine that is as slow as its worker's environment says, as a slow card is, or shares a link."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fakes.engine import FakeEngine
from pytest_gpuperf.records import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gpuperf.engines.base import Arrays, Binding, Progress
    from pytest_gpuperf.records import Artefact, EngineInfo


@contextmanager
def crowded(link: Path) -> Iterator[int]:
    """Use a link that gets three times as slow for everybody when two use it; yield the factor."""
    mine = link / str(os.getpid())
    mine.touch()
    yield 3 if len(list(link.iterdir())) > 1 else 1
    mine.unlink()


class Sleeping(FakeEngine):
    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo:
        numbers = TensorSpec(name="numbers", dtype="float32", shape=(-1, 8))
        return replace(super()._open(artefact, cache, progress), inputs=(numbers,))

    def bind(self, arrays: Arrays) -> Binding:
        binding = super().bind(arrays)
        run, seconds = binding.run, float(os.environ["GPUPERF_SLEEP_MS"]) / 1e3
        link = os.environ.get("GPUPERF_LINK")

        def slow() -> None:
            with crowded(Path(link)) if link else nullcontext(1) as users:
                time.sleep(seconds * users)
            run()

        binding.run = slow
        return binding
