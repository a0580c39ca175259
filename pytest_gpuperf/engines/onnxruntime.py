"""ONNX Runtime: ONNX graphs on its CPU and CUDA providers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_gpuperf.engines.base import Binding, Engine, Progress
from pytest_gpuperf.engines.ort import layers
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, EngineInfo, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_gpuperf.engines.base import Arrays

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES = {"float": "float32", "double": "float64", "bool": "bool", "float16": "float16"}


class OnnxRuntimeEngine(Engine):
    """Options: ``device`` (``cpu`` or ``cuda``), ``threads`` (default: all that the process may use)."""

    artefact_kind: ClassVar[str] = "onnx"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")

    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo:  # noqa: ARG002
        ort = _import()
        device, provider, threads = self._options(ort)
        precision = _graph_precision(artefact.path)
        self._how = ort, artefact.path, provider, threads
        self._session = _session(*self._how)
        got = self._session.get_providers()[0]
        if got != provider:
            raise ConfigError("ONNX Runtime runs on another provider than asked for", got=got, expected=provider)
        if precision == "fp16" and device == "cpu":
            raise ConfigError(
                "ONNX Runtime's CPU provider computes fp16 graphs in fp32",
                expected="fp32 or int8, or the option device=cuda",
            )
        return EngineInfo(
            kind=self.spec.kind,
            device="cpu" if device == "cpu" else "gpu:0",
            provider=got,
            precision=precision,
            artefact=artefact,
            inputs=tuple(_tensor(node) for node in self._session.get_inputs()),
            outputs=tuple(_tensor(node) for node in self._session.get_outputs()),
            versions={"onnxruntime": ort.__version__},
            mode={
                "threads": str(threads),
                "spinning": "within a run",
                "graph_optimization": "all",
                "transfers": "none" if device == "cpu" else "in, out",
            },
        )

    def _options(self, ort: Any) -> tuple[str, str, int]:
        options = self.spec.options
        device, threads = options.get("device", "cpu"), options.get("threads", str(len(os.sched_getaffinity(0))))
        if options.keys() - {"device", "threads"} or device not in _PROVIDERS or not threads.isdecimal():
            raise ConfigError(
                "ONNX Runtime does not know an option",
                got=str(dict(options)),
                expected="device=cpu or device=cuda, threads=N",
            )
        provider = _PROVIDERS[device]
        if provider not in ort.get_available_providers():
            raise ConfigError(
                f"this ONNX Runtime has no {provider}",
                got=", ".join(ort.get_available_providers()),
                hint="install onnxruntime-gpu instead of onnxruntime, never beside it",
            )
        return device, provider, int(threads)

    def _bind(self, batch: Arrays) -> OnnxRuntimeBinding:
        return OnnxRuntimeBinding(self._session, batch)

    def _profile(self, batch: Arrays, calls: int) -> list[dict[str, float]]:
        with tempfile.TemporaryDirectory(prefix="gpuperf-profile-") as folder:
            session = _session(*self._how, profile=Path(folder) / "layers")
            binding = OnnxRuntimeBinding(session, batch)
            for _ in range(calls + 1):
                binding.run()
            return layers.runs(Path(session.end_profiling()).read_text())[1:]  # the first call allocates

    def _close(self) -> None:
        del self._session


class OnnxRuntimeBinding(Binding):
    """Feeds made contiguous once; ONNX Runtime reads them and hands its own output buffers over without a copy."""

    def __init__(self, session: Any, batch: Arrays) -> None:
        import numpy as np

        self._run = session.run
        self._names = [node.name for node in session.get_outputs()]
        self._feeds = {node.name: np.ascontiguousarray(batch[node.name]) for node in session.get_inputs()}
        self._results: list[NDArray[np.generic]] = []

    def run(self) -> None:
        """Run the session; results are in host memory when it returns."""
        self._results = self._run(self._names, self._feeds)

    def refill(self, batch: Arrays) -> None:
        """Take other inputs of the same shapes."""
        self._feeds = {name: batch[name] for name in self._feeds}

    def outputs(self) -> dict[str, NDArray[np.generic]]:
        """Return the last run's outputs."""
        return {name: result.copy() for name, result in zip(self._names, self._results, strict=True)}


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "ONNX Runtime is not installed", got=str(error), hint="pip install 'pytest-gpuperf[cpu]'"
        ) from error
    return onnxruntime


def _session(ort: Any, path: str, provider: str, threads: int, *, profile: Path | None = None) -> Any:
    options = ort.SessionOptions()
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads spin within a run, as they do in production, and sleep between runs: an idle session must not take the
    # processor from the one that it is compared with.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if provider != _PROVIDERS["cpu"]:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        return ort.InferenceSession(path, options, providers=[provider])
    except Exception as error:
        # Its exception classes live in a private module; whichever it is, this file does not load.
        raise ConfigError("ONNX Runtime cannot load the graph", got=f"{path}: {error}") from error


def _graph_precision(path: str) -> str:
    """Read from the graph itself what its convolutions and matrix products get for weights."""
    import onnx

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's and onnx's errors share no base
        raise ConfigError(
            "an ONNX file cannot be read", got=f"{path}: {error}", hint="delete it; it is made again"
        ) from error
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("DequantizeLinear", "Transpose", "Reshape", "Identity") and node.input[0] in types:
            types[node.output[0]] = types[node.input[0]]
    weights = [
        types[node.input[1]]
        for node in graph.node
        if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm") and node.input[1] in types
    ]
    names = {onnx.TensorProto.FLOAT: "fp32", onnx.TensorProto.FLOAT16: "fp16", onnx.TensorProto.INT8: "int8"}
    kinds: list[str] = [names.get(kind, onnx.TensorProto.DataType.Name(kind).lower()) for kind in weights] or ["fp32"]
    return max(sorted(set(kinds)), key=kinds.count)


def _tensor(node: Any) -> TensorSpec:
    inner = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorSpec(name=node.name, dtype=_DTYPES.get(inner, inner), shape=shape)
