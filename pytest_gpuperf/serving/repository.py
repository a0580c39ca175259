"""A model repository as Triton reads it, with one of our engines in it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, EngineInfo, EngineSpec
from pytest_gpuperf.serving import pbtxt
from pytest_gpuperf.serving.plan import Batching

SERVED = "served.json"
#: Triton's embedded Python does not read PYTHONPATH: what this process finds, the engine's process shall find.
MODEL = """import sys

sys.path += [folder for folder in {folders!r} if folder not in sys.path]
from pytest_gpuperf.serving.backend import TritonPythonModel
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the model file in the repository loads."""

    spec: EngineSpec
    artefact: Artefact
    cache: str


def write(
    folder: Path, name: str, spec: EngineSpec, info: EngineInfo, batching: Batching, *, cache: Path
) -> tuple[Path, Path]:
    """Write a repository of one model; return it and the folder of backends.

    Args:
        folder: to write into.
        name: of the model.
        spec: the engine.
        info: what the engine was once it was open: its tensors and its artefact.
        batching: of requests.
        cache: folder that the engine keeps what it builds in.

    Raises:
        ConfigError: the server's package is missing, or has no backend for this Python.
    """
    model = folder / "models" / name
    (model / "1").mkdir(parents=True, exist_ok=True)
    text = pbtxt.config(name, info.inputs, info.outputs, batching, backend="python")
    (model / "config.pbtxt").write_text(text, encoding="utf-8")
    (model / "1" / "model.py").write_text(MODEL.format(folders=_folders()), encoding="utf-8")
    served = Served(spec=spec, artefact=info.artefact, cache=str(cache))
    (model / "1" / SERVED).write_bytes(msgspec.json.encode(served))
    return folder / "models", _backends(folder / "backends")


def distribution() -> Path:
    """Return the folder of the server that ``nvidia-pytriton`` brings.

    Only its files are used: the package's Python side needs NumPy 1, the server does not.

    Raises:
        ConfigError: it is not installed.
    """
    from importlib.metadata import PackageNotFoundError, files

    try:
        server = next(file for file in files("nvidia-pytriton") or () if file.parts[-2:] == ("bin", "tritonserver"))
    except (PackageNotFoundError, StopIteration):
        raise ConfigError(
            "NVIDIA Triton is not installed",
            expected="the server's files, which nvidia-pytriton brings",
            hint="pip install 'pytest-gpuperf[serving]', or name a running server with --gpu-serving-url",
        ) from None
    return Path(str(server.locate())).parents[1]


def _folders() -> list[str]:
    return [str(Path(folder).absolute()) for folder in sys.path]


def _backends(folder: Path) -> Path:
    """Link the Python backend together with the program that speaks this Python's version."""
    python, server = f"{sys.version_info.major}.{sys.version_info.minor}", distribution()
    stub = server / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.exists():
        offered = ", ".join(sorted(path.name for path in (server / "python_backend_stubs").iterdir()))
        raise ConfigError("Triton has no backend for this Python", got=python, expected=offered)
    backend = folder / "python"
    backend.mkdir(parents=True, exist_ok=True)
    for file in (*(server / "backends" / "python").iterdir(), stub):
        if not (backend / file.name).exists():
            (backend / file.name).symlink_to(file)
    return folder
