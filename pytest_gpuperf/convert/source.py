"""Where a model comes from: a builder in a Python file, a ``.keras`` file, a SavedModel folder, or an ``.onnx`` file.

A model is identified twice. Its *content* digest (configuration and weights) is what artefacts are cached by, but to
know it the model must be built, which takes TensorFlow and seconds. So the cache also remembers which *origin* gave
which content: the digest of the files that the model is made from, and the versions of the libraries that make it. A
warm start only reads files; an edit that does not change the model builds it once and then finds its artefacts again.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from pytest_gpuperf.convert.cache import Cache, file_sha256, files_sha256
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Model
from pytest_gpuperf.script import Script

Progress = Callable[[str], None]

_KERAS_LIBRARIES = ("tensorflow", "tensorflow-cpu", "keras", "keras-hub", "numpy")
_INPUTS = Path(__file__).parents[1] / "inputs.py"  # builders take batch-norm statistics from input sets


class Source(ABC):
    """Where one model comes from; nothing is read before it is needed.

    Attributes:
        kind: ``keras``, ``savedmodel`` or ``onnx``: what the model is before any conversion.
        path: the file or folder that the model's ``source`` names.
    """

    kind: ClassVar[str]

    def __init__(self, model: Model, path: Path) -> None:
        self.model = model
        self.path = path

    @abstractmethod
    def content(self, cache: Cache, progress: Progress) -> str:
        """Return the digest of what the model computes: its configuration and weights."""


class FileSource(Source):
    """A SavedModel folder or an ONNX file: its files are its content."""

    def content(self, cache: Cache, progress: Progress) -> str:  # noqa: ARG002 - nothing to remember
        """Return the digest of the files."""
        return _digest(self.path)


class SavedModelSource(FileSource):
    """A SavedModel folder."""

    kind = "savedmodel"


class OnnxSource(FileSource):
    """An ONNX file."""

    kind = "onnx"


class KerasSource(Source):
    """A Keras model, from a builder function or a ``.keras`` file."""

    kind = "keras"

    def __init__(self, model: Model, path: Path, progress: Progress, script: Script | None = None) -> None:
        super().__init__(model, path)
        self._progress = progress
        self._script = script
        self._weights = _weights(model)

    @cached_property
    def keras(self) -> Any:
        """The Keras model in FP32, built at first use."""
        self._progress(f"building {self.model.name} in Keras")
        import keras

        try:
            if self._script is None:
                return keras.saving.load_model(self.path, compile=False)
            built = self._script.load()(None if self._weights is None else str(self._weights))
        except (ValueError, OSError) as error:
            raise ConfigError(
                f"model {self.model.name!r} cannot be built",
                got=f"{type(error).__name__}: {error}",
                expected="a Keras model and weights that fit it",
                hint=f"check {self._weights or self.path}",
            ) from error
        if not isinstance(built, keras.Model):
            raise ConfigError(f"{self.model.source} did not return a Keras model", got=type(built).__name__)
        return built

    def content(self, cache: Cache, progress: Progress) -> str:
        """Return the remembered digest for these files and versions, else build the model."""

        def build(path: Path) -> None:
            path.write_text(self._content())

        return Path(cache.get_or_build("content", self._origin(), build, progress=progress).path).read_text()

    def _origin(self) -> dict[str, str]:
        """Describe everything that a build reads: the files beside a builder, its tests aside, weights, libraries.

        A builder that reads files elsewhere must take them through ``Model.weights``, or their change goes unseen.
        """
        beside = self.path.parent if self._script is not None else self.path
        return {
            "source": Path(self.model.source).name,
            "files": _digest(beside, deep=False),
            "weights": "none" if self._weights is None else file_sha256(self._weights),
            "inputs": file_sha256(_INPUTS),
            **versions(*_KERAS_LIBRARIES),
        }

    def _content(self) -> str:
        import hashlib

        model = self.keras
        sha = hashlib.sha256(json.dumps(model.get_config(), sort_keys=True, default=_named).encode())
        for variable in model.weights:
            array = variable.numpy()
            sha.update(f"{variable.path} {array.dtype} {array.shape}\n".encode())
            sha.update(array.data)
        return sha.hexdigest()


def find(model: Model, progress: Progress) -> Source:
    """Return where ``model`` comes from.

    Raises:
        ConfigError: it is none of the four kinds, or a file is missing.
    """
    if ".py:" in model.source:
        script = Script.find(model.source, model.root)
        return KerasSource(model, script.path, progress, script)
    path = (Path(model.root) / model.source).resolve()
    if not path.exists():
        raise ConfigError(f"model {model.name!r} is not there", got=str(path), hint="check its source and root")
    if (path / "saved_model.pb").is_file():
        return SavedModelSource(model, path)
    if path.suffix == ".keras":
        return KerasSource(model, path, progress)
    if path.suffix == ".onnx":
        return OnnxSource(model, path)
    raise ConfigError(
        f"model {model.name!r} has an unknown kind of source",
        got=model.source,
        expected="file.py:function, a .keras file, a SavedModel folder, or an .onnx file",
    )


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions, without importing anything; ``none`` where a package is missing."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _weights(model: Model) -> Path | None:
    if model.weights is None:
        return None
    path = (Path(model.root) / model.weights).resolve()
    if not path.is_file():
        raise ConfigError(
            f"the weights of model {model.name!r} are missing",
            got=str(path),
            expected="a file that the model's builder loads",
            hint="correct Model(weights=…), or leave it out for the suite's own weights",
        )
    return path


def _digest(path: Path, *, deep: bool = True) -> str:
    """Return one sha256 for a file or for the files of a folder, without hidden ones, compiled Python and tests."""
    if path.is_file():
        return file_sha256(path)
    found = {}
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if deep and not name.startswith((".", "__pycache__")))
        for name in sorted(names):
            if not name.startswith((".", "test_", "conftest.")):
                file = Path(folder) / name
                found[str(file.relative_to(path))] = file_sha256(file)
    return files_sha256(found)


def _named(thing: object) -> str:
    """Stand for what JSON lacks in a configuration: types and functions by name, Keras objects by configuration."""
    if hasattr(thing, "get_config"):
        return json.dumps([type(thing).__name__, thing.get_config()], sort_keys=True, default=_named)
    return getattr(thing, "__qualname__", None) or type(thing).__qualname__
