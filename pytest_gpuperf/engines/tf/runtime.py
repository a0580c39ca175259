"""A process's TensorFlow: its devices and number formats, a SavedModel's signature, and batches bound to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_gpuperf.engines.base import Binding
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_gpuperf.engines.base import Arrays

SIGNATURE = "serving_default"


def load() -> Any:
    """Return TensorFlow.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ConfigError(
            "TensorFlow is not installed", got=str(error), hint="pip install 'pytest-gpuperf[cpu]'"
        ) from error
    return tf


def configure(tf: Any, *, on_gpu: bool, threads: int | None, tf32: bool = False) -> str:
    """Set threads, visible devices and number formats of this process; return the device's name in TensorFlow's words.

    GPU memory grows as it is needed: TensorFlow's default takes nearly all of it, and starves whoever runs beside it.

    Raises:
        ConfigError: there is no GPU, or the process has used TensorFlow with other settings.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if on_gpu and not gpus:
        raise ConfigError("TensorFlow finds no GPU", hint="run `gpuperf doctor`; no measurement was made")
    try:
        if threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        tf.config.set_visible_devices(gpus if on_gpu else [], "GPU")
        for gpu in gpus if on_gpu else []:
            tf.config.experimental.set_memory_growth(gpu, enable=True)
    except RuntimeError as error:
        raise ConfigError(
            "TensorFlow's threads and devices cannot change in a process that has used it",
            got=str(error),
            hint="use the same options for all TensorFlow engines of a session",
        ) from error
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    return "GPU" if on_gpu else "CPU"


def threads(tf: Any) -> int:
    """Return how many threads one operation may use."""
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))


def signature(tf: Any, path: str) -> tuple[Any, Any]:
    """Return the loaded SavedModel, which must outlive its signature, and the signature.

    Raises:
        ConfigError: the folder is no such SavedModel.
    """
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


def tensors(specs: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """Return a signature's inputs or outputs as records, by name."""
    return tuple(
        TensorSpec(name=name, dtype=spec.dtype.name, shape=tuple(-1 if size is None else size for size in spec.shape))
        for name, spec in sorted(specs.items())
    )


def zeros(tf: Any, call: Any) -> dict[str, Any]:
    """Return the smallest batch that the signature takes."""
    specs = call.structured_input_signature[1]
    return {name: tf.zeros([size or 1 for size in spec.shape], spec.dtype) for name, spec in specs.items()}


class TensorFlowBinding(Binding):
    """Input tensors made once; a run ends when all outputs are there.

    Args:
        tf: TensorFlow.
        call: the signature, or a function like it.
        names: of its inputs.
        batch: the arrays.
        resident: a device that inputs are put on beforehand and outputs stay on; ``None`` = inputs lie in host memory,
            and a run ends when all outputs are NumPy arrays.
    """

    def __init__(
        self, tf: Any, call: Callable[..., Any], names: Any, batch: Arrays, *, resident: str | None = None
    ) -> None:
        self._call = call
        self._wait = tf.test.experimental.sync_devices if resident else None
        with tf.device("/CPU:0"):
            self._tensors = {name: tf.constant(batch[name]) for name in names}
        if resident:
            with tf.device(resident):
                self._tensors = {name: tf.identity(tensor) for name, tensor in self._tensors.items()}
        self._results: dict[str, Any] = {}

    def run(self) -> None:
        """Call the signature; fetch its outputs, or wait for the device that they stay on."""
        results = self._call(**self._tensors)
        if self._wait is None:
            self._results = {name: result.numpy() for name, result in results.items()}
        else:
            self._wait()
            self._results = results

    def outputs(self) -> dict[str, NDArray[np.generic]]:
        """Return the last run's outputs; bfloat16, which NumPy lacks, becomes float32."""
        arrays = {name: result if self._wait is None else result.numpy() for name, result in self._results.items()}
        return {
            name: array.astype("float32") if array.dtype.kind == "V" else array.copy() for name, array in arrays.items()
        }
