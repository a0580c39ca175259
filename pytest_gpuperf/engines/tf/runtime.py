"""A process's TensorFlow: its devices and number formats, a SavedModel's signature, and batches bound to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
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
    """One batch of a signature.

    Args:
        tf: TensorFlow.
        call: the signature, or a function like it.
        names: of its inputs.
        batch: the arrays.
        device: of TensorFlow; ``None`` = tensors are made once in host memory, which is where the CPU computes.
        has_transfers: whether a call uploads the arrays to ``device`` and fetches its outputs; else inputs are put
            there beforehand, and a run ends when the device has finished.
    """

    def __init__(
        self,
        tf: Any,
        call: Callable[..., Any],
        names: Iterable[str],
        batch: Arrays,
        *,
        device: str | None = None,
        has_transfers: bool = False,
    ) -> None:
        self._tf = tf
        self._call = call
        self._device = device
        self._arrays = {name: batch[name] for name in names}
        self._uploads = device is not None and has_transfers
        self._fetches = device is None or has_transfers
        self._tensors = self._upload()
        self._results: dict[str, Any] = {}

    def _upload(self) -> dict[str, Any]:
        """Make the inputs anew: of a host tensor TensorFlow keeps the copy that a call makes, for all later ones."""
        with self._tf.device(self._device or "/CPU:0"):
            return {name: self._tf.constant(array) for name, array in self._arrays.items()}

    def run(self) -> None:
        """Call the signature; fetch its outputs, or wait for the device that they stay on."""
        results = self._call(**(self._upload() if self._uploads else self._tensors))
        if self._fetches:
            self._results = {name: result.numpy() for name, result in results.items()}
        else:
            self._tf.test.experimental.sync_devices()
            self._results = results

    def outputs(self) -> dict[str, NDArray[np.generic]]:
        """Return the last run's outputs; bfloat16, which NumPy lacks, becomes float32."""
        arrays = {name: result if self._fetches else result.numpy() for name, result in self._results.items()}
        return {
            name: array.astype("float32") if array.dtype.kind == "V" else array.copy() for name, array in arrays.items()
        }
