"""Engines and timing caches on disk. An engine is machine code: only what this store recorded is ever loaded.

An engine file is named by the key of what it was built from; beside it stands a record with its sha256. The record is
written last, so an engine without one is what a killed builder left, and is built again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_gpuperf import files
from pytest_gpuperf.engines.trt.builder import Built
from pytest_gpuperf.records import Artefact

#: A build of a large model with many shape profiles can take this long.
BUILD_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An engine that may be loaded.

    Attributes:
        sha256: of ``engine``.
        build_s: how long the build took.
        recipe: what it was built from and with.
    """

    engine: bytes
    sha256: str
    build_s: float
    recipe: dict[str, str]


class Store:
    """The engines under ``root``; safe with several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get_or_build(
        self, recipe: Mapping[str, str], build: Callable[[bytes], Built], *, progress: Callable[[str], None]
    ) -> Entry:
        """Return the engine for ``recipe``, building it if there is none or it is damaged.

        Args:
            recipe: everything that shapes the engine; ``graph``, ``tensorrt`` and ``device`` also key the timing cache.
            build: gets the stored timing cache and returns engine and new timing cache.
            progress: is told about a damaged engine, and about a build.
        """
        path = self.root / f"{_key(recipe)}.engine"
        with self._locked(path):
            entry = self._read(path, progress)
            if entry is not None:
                return entry
            timing = self.root / f"{_key({name: recipe[name] for name in ('graph', 'tensorrt', 'device')})}.timing"
            progress(f"building a TensorRT engine, {recipe.get('precision', '')}")
            started = time.monotonic()
            built = build(timing.read_bytes() if timing.exists() else b"")
            seconds = time.monotonic() - started
            if built.timing_cache:
                files.write_bytes(timing, built.timing_cache)
            return self._write(path, built.engine, seconds, dict(recipe))

    def find(self, sha256: str) -> Artefact | None:
        """Return the undamaged engine with this content, ``None`` where the store has none."""
        for record in sorted(self.root.glob("*.json")):
            path = record.with_suffix(".engine")
            entry = self._read(path, lambda _: None)
            if entry is not None and entry.sha256 == sha256:
                return Artefact(kind="engine", path=str(path), sha256=sha256, recipe=entry.recipe)
        return None

    def _read(self, path: Path, progress: Callable[[str], None]) -> Entry | None:
        try:
            record = json.loads(path.with_suffix(".json").read_bytes())
            engine = path.read_bytes()
            entry = Entry(
                engine=engine, sha256=record["sha256"], build_s=record["build_s"], recipe=dict(record["recipe"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if hashlib.sha256(engine).hexdigest() != entry.sha256:
            progress(f"engine {path.name} does not have the recorded sha256 and is not loaded; building it again")
            return None
        return entry

    def _write(self, path: Path, engine: bytes, seconds: float, recipe: dict[str, str]) -> Entry:
        entry = Entry(engine=engine, sha256=hashlib.sha256(engine).hexdigest(), build_s=seconds, recipe=recipe)
        path.with_suffix(".json").unlink(missing_ok=True)
        files.write_bytes(path, engine)
        record = {"sha256": entry.sha256, "build_s": entry.build_s, "recipe": recipe}
        files.write_bytes(path.with_suffix(".json"), json.dumps(record, indent=1, sort_keys=True).encode())
        return entry

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        files.sweep(self.root)
        with files.lock(path, timeout_s=BUILD_TIMEOUT_S):
            yield


def _key(recipe: Mapping[str, str]) -> str:
    text = json.dumps(dict(recipe), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
