"""A fake engine that is as slow as its worker's environment says, as a slow card is."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from fakes.engine import FakeEngine

if TYPE_CHECKING:
    from pytest_gpuperf.engines.base import Arrays, Binding


class Sleeping(FakeEngine):
    def bind(self, arrays: Arrays) -> Binding:
        binding = super().bind(arrays)
        run, seconds = binding.run, float(os.environ["GPUPERF_SLEEP_MS"]) / 1e3

        def slow() -> None:
            time.sleep(seconds)
            run()

        binding.run = slow
        return binding
