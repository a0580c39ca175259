"""TensorFlow: the serving signature of a SavedModel, in graph mode; never a live Keras object."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_gpuperf.engines.base import Binding, Engine, Progress
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, EngineInfo, EngineSpec, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_gpuperf.engines.base import Arrays

SIGNATURE = "serving_default"
#: Where a model's time goes; their type is the precision that it computes in.
_HEAVY = frozenset(
    {"Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum"}
)
_PRECISIONS = {"float32": "fp32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}


class TensorFlowEngine(Engine):
    """Options: ``device`` (``cpu`` or ``cuda``), ``threads`` (default: all that the process may use)."""

    artefact_kind: ClassVar[str] = "savedmodel"
    precisions: ClassVar[tuple[str, ...]] = tuple(_PRECISIONS.values())

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        # Not in _open: the artefact is made in between, and TensorFlow takes threads and devices from its first use.
        self._tf = _import()
        self._device = self._configure()

    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo:  # noqa: ARG002
        tf = self._tf
        self._loaded, self._call = _signature(tf, artefact.path)
        inputs = self._call.structured_input_signature[1]
        device = self._placed(inputs)
        threads = tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
        return EngineInfo(
            kind=self.spec.kind,
            device=device,
            provider="TensorFlow",
            precision=_graph_precision(tf, self._call),
            artefact=artefact,
            inputs=tuple(_tensor(name, spec) for name, spec in sorted(inputs.items())),
            outputs=tuple(_tensor(name, spec) for name, spec in sorted(self._call.structured_outputs.items())),
            versions={"tensorflow": tf.__version__},
            mode={
                "threads": str(threads),
                "graph": SIGNATURE,
                "xla": "off",
                "tf32": "off",
                "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
                "transfers": "none" if device == "cpu" else "in, out",
            },
        )

    def _configure(self) -> str:
        """Set threads, visible devices and number formats; return the device's name in TensorFlow's words."""
        tf, options = self._tf, self.spec.options
        device, threads = options.get("device", "cpu"), options.get("threads", "1")
        if options.keys() - {"device", "threads"} or device not in ("cpu", "cuda") or not threads.isdecimal():
            raise ConfigError(
                "TensorFlow does not know an option",
                got=str(dict(options)),
                expected="device=cpu or device=cuda, threads=N",
            )
        gpus = tf.config.list_physical_devices("GPU")
        if device == "cuda" and not gpus:
            raise ConfigError("TensorFlow finds no GPU", hint="run `gpuperf doctor`; no measurement was made")
        try:
            if "threads" in options:
                tf.config.threading.set_intra_op_parallelism_threads(int(threads))
                tf.config.threading.set_inter_op_parallelism_threads(int(threads))
            tf.config.set_visible_devices(gpus if device == "cuda" else [], "GPU")
            for gpu in gpus if device == "cuda" else []:
                tf.config.experimental.set_memory_growth(gpu, enable=True)
        except RuntimeError as error:
            raise ConfigError(
                "TensorFlow's threads and devices cannot change in a process that has used it",
                got=str(error),
                hint="use the same options for all TensorFlow engines of a session",
            ) from error
        tf.config.experimental.enable_tensor_float_32_execution(False)
        return "GPU" if device == "cuda" else "CPU"

    def _placed(self, inputs: Any) -> str:
        """Run once on zeros and return where the results came to be.

        Raises:
            ConfigError: not where it was asked for.
        """
        tf = self._tf
        zeros = {name: tf.zeros([size or 1 for size in spec.shape], spec.dtype) for name, spec in inputs.items()}
        found = {
            tf.DeviceSpec.from_string(result.backing_device).device_type for result in self._call(**zeros).values()
        }
        if found != {self._device}:
            raise ConfigError(
                "TensorFlow runs on another device than asked for",
                got=", ".join(sorted(map(str, found))),
                expected=self._device,
            )
        return "cpu" if self._device == "CPU" else "gpu:0"

    def _bind(self, batch: Arrays) -> TensorFlowBinding:
        names = self._call.structured_input_signature[1]
        with self._tf.device("/CPU:0"):
            return TensorFlowBinding(self._call, {name: self._tf.constant(batch[name]) for name in names})

    def _close(self) -> None:
        del self._call, self._loaded


class TensorFlowBinding(Binding):
    """Input tensors made once in host memory; a run ends when all outputs are NumPy arrays."""

    def __init__(self, call: Any, tensors: dict[str, Any]) -> None:
        self._call = call
        self._tensors = tensors
        self._results: dict[str, NDArray[np.generic]] = {}

    def run(self) -> None:
        """Call the signature and fetch its outputs."""
        self._results = {name: result.numpy() for name, result in self._call(**self._tensors).items()}

    def outputs(self) -> dict[str, NDArray[np.generic]]:
        """Return the last run's outputs; bfloat16, which NumPy lacks, becomes float32."""
        return {
            name: result.astype("float32") if result.dtype.kind == "V" else result.copy()
            for name, result in self._results.items()
        }


def _import() -> Any:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ConfigError(
            "TensorFlow is not installed", got=str(error), hint="pip install 'pytest-gpuperf[cpu]'"
        ) from error
    return tf


def _signature(tf: Any, path: str) -> tuple[Any, Any]:
    try:
        loaded = tf.saved_model.load(path)
        return loaded, loaded.signatures[SIGNATURE]
    except Exception as error:  # OSError, KeyError, protobuf's and TensorFlow's own: the folder is no such SavedModel
        raise ConfigError(
            "a SavedModel cannot be loaded",
            got=f"{path}: {type(error).__name__}: {error}",
            expected=f"a SavedModel with the signature {SIGNATURE!r}",
            hint="delete it; it is made again",
        ) from error


def _graph_precision(tf: Any, call: Any) -> str:
    """Read from the graph in which type its convolutions and matrix products compute."""
    graph = call.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    types = [tf.as_dtype(node.attr["T"].type).name for node in nodes if node.op in _HEAVY] or ["float32"]
    most: str = max(sorted(set(types)), key=types.count)
    return _PRECISIONS.get(most, most)


def _tensor(name: str, spec: Any) -> TensorSpec:
    return TensorSpec(
        name=name, dtype=spec.dtype.name, shape=tuple(-1 if size is None else size for size in spec.shape)
    )
