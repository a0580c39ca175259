"""The fake engine with its options in a file, so that a later session runs the same case with another behaviour."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fakes.engine import FakeEngine

if TYPE_CHECKING:
    from pytest_gpuperf.records import EngineSpec


class ScriptedEngine(FakeEngine):
    """Option ``script``: a JSON file with the options of :class:`FakeEngine`."""

    def __init__(self, spec: EngineSpec) -> None:
        options = json.loads(Path(spec.options["script"]).read_text())
        super().__init__(replace(spec, options=options))
