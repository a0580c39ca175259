"""From a model's source to the artefact that an engine loads: Keras → SavedModel → ONNX → FP16 or INT8, cached."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pytest_gpuperf.convert import source as sources
from pytest_gpuperf.convert.cache import Cache, file_sha256
from pytest_gpuperf.convert.source import KerasSource, OnnxSource, SavedModelSource, Source
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, Model

Progress = Callable[[str], None]
Kind = Literal["savedmodel", "onnx", "tensorrt"]

PRECISIONS: dict[str, tuple[str, ...]] = {
    "savedmodel": ("fp32", "mixed_float16", "mixed_bfloat16"),
    "onnx": ("fp32", "fp16", "int8"),
    "tensorrt": ("fp32", "fp16", "int8"),
}


def prepare(model: Model, *, kind: Kind, precision: str, cache: Cache, progress: Progress) -> Artefact:
    """Return the model as an artefact, from the cache or made now.

    With everything cached this takes milliseconds and imports none of TensorFlow, Keras and ONNX: the model is known by
    its files (see :mod:`pytest_gpuperf.convert.source`), an artefact by the model's content and how it is made.

    Args:
        model: what to convert.
        kind: ``savedmodel``, ``onnx``, or ``tensorrt``: ONNX whose Q/DQ pairs stand where TensorRT wants them.
        precision: one of :data:`PRECISIONS` for the kind.
        cache: where artefacts are kept.
        progress: called with one line for every long step.

    Raises:
        ConfigError: no such kind or precision; the source is missing, damaged, or cannot become what was asked for.
        InfraError: the cache cannot be written.
    """
    known = PRECISIONS.get(kind)
    if known is None or precision not in known:
        raise ConfigError(
            f"no conversion to {kind} in {precision}",
            expected="; ".join(f"{kind}: {', '.join(names)}" for kind, names in PRECISIONS.items()),
        )
    conversion = _Conversion(model, cache, progress)
    return {"savedmodel": conversion.savedmodel, "onnx": conversion.onnx, "tensorrt": conversion.tensorrt}[kind](
        precision
    )


class _Conversion:
    """The steps for one model; each asks the cache first, and the step before it only when it has to work."""

    def __init__(self, model: Model, cache: Cache, progress: Progress) -> None:
        self._model = model
        self._cache = cache
        self._progress = progress
        self._source: Source = sources.find(model, progress)
        self._content = self._source.content(cache, progress)

    def savedmodel(self, precision: str) -> Artefact:
        source = self._source

        def build(path: Path) -> None:
            if isinstance(source, KerasSource):
                from pytest_gpuperf.convert import savedmodel

                self._progress(f"saving {self._model.name} as a SavedModel ({precision})")
                savedmodel.convert(source.keras, path, precision=precision)
            elif isinstance(source, SavedModelSource) and precision == "fp32":
                shutil.copytree(source.path, path)
            else:
                raise self._impossible("SavedModel", precision)

        return self._make("savedmodel", precision, build, "savedmodel.py", "tensorflow", "tensorflow-cpu", "keras")

    def onnx(self, precision: str) -> Artefact:
        return {"fp32": self._fp32, "fp16": self._fp16, "int8": self._int8}[precision]()

    def tensorrt(self, precision: str) -> Artefact:
        tidied = self._tidied()
        if precision == "fp32":
            return tidied
        if precision == "fp16":
            return self._fp16(tidied)
        int8 = self._int8(tidied)

        def build(path: Path) -> None:
            from pytest_gpuperf.convert import placement

            placement.before_operators(Path(int8.path), path)

        return self._make("onnx", "int8", build, "placement.py", "onnx", source=int8.sha256)

    def _tidied(self) -> Artefact:
        full = self._fp32()

        def build(path: Path) -> None:
            from pytest_gpuperf.convert import tidy

            self._progress(f"tidying up {self._model.name} for TensorRT")
            tidy.convert(Path(full.path), path)

        return self._make("onnx", "fp32", build, "tidy.py", "onnx", "onnxruntime", source=full.sha256)

    def _fp32(self) -> Artefact:
        source = self._source

        def build(path: Path) -> None:
            from pytest_gpuperf.convert import external, onnx

            if isinstance(source, OnnxSource):
                external.refuse(source.path)
                onnx.check(source.path)
                shutil.copyfile(source.path, path)
                return
            savedmodel = self.savedmodel("fp32")
            self._progress(f"exporting {self._model.name} to ONNX")
            onnx.convert(Path(savedmodel.path), path)

        return self._make(
            "onnx", "fp32", build, "onnx.py", "tensorflow", "tensorflow-cpu", "tf2onnx", "onnx", "onnxruntime"
        )

    def _fp16(self, tidied: Artefact | None = None) -> Artefact:
        try:
            from pytest_gpuperf.convert import fp16
        except ImportError as error:
            raise self._impossible("ONNX", "fp16") from error

        def build(path: Path) -> None:
            full = tidied or self._fp32()
            self._progress(f"converting {self._model.name} to FP16")
            fp16.convert(Path(full.path), path)

        return self._make("onnx", "fp16", build, "fp16.py", "onnx", "onnxruntime", **_source(tidied))

    def _int8(self, tidied: Artefact | None = None) -> Artefact:
        from pytest_gpuperf import inputs
        from pytest_gpuperf.convert import quantize

        batches = inputs.calibration(self._model.inputs, quantize.SAMPLES, self._model.root)

        def build(path: Path) -> None:
            full = tidied or self._fp32()
            self._progress(f"calibrating {self._model.name} for INT8 on {quantize.SAMPLES} samples")
            percentile = None if tidied is None else quantize.PERCENTILE
            quantize.convert(Path(full.path), path, batches, percentile=percentile)

        return self._make(
            "onnx",
            "int8",
            build,
            "quantize.py",
            "onnx",
            "onnxruntime",
            calibration=batches.digest,
            **_source(tidied),
        )

    def _make(
        self, kind: Kind, precision: str, build: Callable[[Path], None], converter: str, *packages: str, **more: str
    ) -> Artefact:
        recipe = {
            "model": self._model.name,
            "content": self._content,
            "precision": precision,
            "converter": file_sha256(Path(__file__).with_name(converter)),
            **sources.versions(*packages),
            **more,
        }
        return self._cache.get_or_build(kind, recipe, build, progress=self._progress)

    def _impossible(self, what: str, precision: str) -> Any:
        return ConfigError(
            f"model {self._model.name!r} cannot become a {what} in {precision}",
            got=f"a source of the kind {self._source.kind}: {self._model.source}",
            expected="a Keras model, for a SavedModel; anything, for ONNX",
        )


def _source(artefact: Artefact | None) -> dict[str, str]:
    return {} if artefact is None else {"source": artefact.sha256}
