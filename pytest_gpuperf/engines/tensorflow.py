"""TensorFlow: the serving signature of a SavedModel, in graph mode; never a live Keras object.

Options of the engine (all strings, all conditions):

==============  ============================  =================================================================
``device``      ``cpu`` (default), ``cuda``   where everything must run
``threads``     default: all                  threads of one operation on the CPU
``xla``         ``off`` (default), ``on``     whether XLA compiles the whole signature, once per batch size
``transfers``   ``in_out`` (default), ``none``  on a GPU: whether a call uploads its inputs and fetches its outputs
==============  ============================  =================================================================

The precision ``tf32`` is the FP32 model with its products in TF32, which NVIDIA's GPUs know from Ampere on and
TensorFlow uses unless told otherwise; ``fp32`` here means FP32.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_gpuperf.engines.base import Binding, Engine, Progress
from pytest_gpuperf.engines.tf import placement, runtime
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, EngineInfo, EngineSpec

if TYPE_CHECKING:
    from pytest_gpuperf.engines.base import Arrays

#: Where a model's time goes; their type is the precision that it computes in.
_HEAVY = frozenset(
    {"Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum"}
)
_PRECISIONS = {"float32": "fp32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
_CHOICES = {"device": ("cpu", "cuda"), "xla": ("off", "on"), "transfers": ("in_out", "none")}


class TensorFlowEngine(Engine):
    """A SavedModel in TensorFlow's own runtime."""

    artefact_kind: ClassVar[str] = "savedmodel"
    precisions: ClassVar[tuple[str, ...]] = (*_PRECISIONS.values(), "tf32")

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        # Not in _open: the artefact is made in between, and TensorFlow takes threads and devices from its first use.
        self._tf = runtime.load()
        self._device = self._configure()

    @property
    def artefact_precision(self) -> str:
        """TF32 is a way to compute, not another model."""
        return "fp32" if self.spec.precision == "tf32" else self.spec.precision

    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo:  # noqa: ARG002
        tf, options = self._tf, self.spec.options
        self._loaded, signature = runtime.signature(tf, artefact.path)
        precision = _graph_precision(tf, signature)
        is_tf32 = self.spec.precision == "tf32" and precision == "fp32"
        self._inputs = signature.structured_input_signature[1]
        self._call = self._compiled(signature)
        return EngineInfo(
            kind=self.spec.kind,
            device=self._placed(signature),
            provider="TensorFlow",
            precision="tf32" if is_tf32 else precision,
            artefact=artefact,
            inputs=runtime.tensors(self._inputs),
            outputs=runtime.tensors(signature.structured_outputs),
            versions={"tensorflow": tf.__version__},
            mode={
                "threads": self._threads(),
                "graph": runtime.SIGNATURE,
                "xla": options.get("xla", "off"),
                "tf32": "on" if is_tf32 else "off",
                "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
                "transfers": "in, out" if self._has_transfers else "none",
            },
        )

    @property
    def _has_transfers(self) -> bool:
        return self._device == "GPU" and self.spec.options.get("transfers", "in_out") == "in_out"

    def _threads(self) -> str:
        """Return how many; beside a GPU they only launch, and how many a host has is no condition of its own."""
        is_left_to_host = self._device == "GPU" and "threads" not in self.spec.options
        return "default" if is_left_to_host else str(runtime.threads(self._tf))

    def _configure(self) -> str:
        options = self.spec.options
        threads = options.get("threads", "1")
        is_known = all(options.get(name, values[0]) in values for name, values in _CHOICES.items())
        if options.keys() - {*_CHOICES, "threads"} or not is_known or not threads.isdecimal():
            raise ConfigError(
                "TensorFlow does not know an option",
                got=str(dict(options)),
                expected="device=cpu or device=cuda, threads=N, xla=off or xla=on, transfers=in_out or transfers=none",
            )
        on_gpu = options.get("device") == "cuda"
        is_tf32 = self.spec.precision == "tf32"
        if is_tf32 and not on_gpu:
            raise ConfigError("TF32 is a number format of NVIDIA's GPUs", got="device=cpu", expected="device=cuda")
        return runtime.configure(
            self._tf, on_gpu=on_gpu, threads=int(threads) if "threads" in options else None, tf32=is_tf32
        )

    def _compiled(self, signature: Any) -> Any:
        if self.spec.options.get("xla") != "on":
            return signature
        specs = {name: self._tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in self._inputs.items()}
        compiled = self._tf.function(lambda **inputs: signature(**inputs), jit_compile=True)  # noqa: PLW0108 - a function of names
        return compiled.get_concrete_function(**specs)

    def _placed(self, signature: Any) -> str:
        """Run once on zeros and return where every operation ran.

        XLA compiles for one device or fails: there, what it is given and where its results lie is what can be seen.

        Raises:
            ConfigError: not where it was asked for.
        """
        feeds = runtime.zeros(self._tf, signature)
        graphs = placement.partitions(lambda: signature(**feeds))
        placement.check(placement.counted(self._tf, graphs), self._device)
        results = self._call(**feeds).values()
        devices = {self._tf.DeviceSpec.from_string(result.backing_device).device_type for result in results}
        placement.check({device: Counter(results=1) for device in devices}, self._device)
        return "cpu" if self._device == "CPU" else "gpu:0"

    def _bind(self, batch: Arrays) -> Binding:
        device = "/GPU:0" if self._device == "GPU" else None
        return runtime.TensorFlowBinding(
            self._tf, self._call, self._inputs, batch, device=device, has_transfers=self._has_transfers
        )

    def _close(self) -> None:
        del self._call, self._loaded


def _graph_precision(tf: Any, call: Any) -> str:
    """Read from the graph in which type its convolutions and matrix products compute."""
    graph = call.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    types = [tf.as_dtype(node.attr["T"].type).name for node in nodes if node.op in _HEAVY] or ["float32"]
    most: str = max(sorted(set(types)), key=types.count)
    return _PRECISIONS.get(most, most)
