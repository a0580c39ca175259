"""What the user asks for: a model, an engine, batches, bounds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Absolute bounds of one case; ``None`` means unbounded.

    Latencies are in milliseconds of the case's clock (device where the engine has one, else host); throughput in
    samples per second, the batch multiplied; accuracies are fractions of 1; RMSE is absolute, in the output's unit,
    ``max_output_rel_rmse`` is RMSE over the reference's root mean square.
    ``min_reference_classes`` guards agreement: a reference that answers one class for every input agrees with anything.
    """

    max_latency_p50_ms: float | None = None
    max_latency_p99_ms: float | None = None
    min_throughput_sps: float | None = None
    min_top1: float | None = None
    max_top1_loss: float | None = None
    min_top1_agreement: float | None = None
    max_output_rmse: float | None = None
    max_output_rel_rmse: float | None = None
    min_output_cosine: float | None = None
    min_reference_classes: int | None = None
    max_memory_mib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that engines are made from.

    Attributes:
        name: short name used in test ids, caches and reports.
        source: ``path/to/file.py:function`` (returns a Keras model), or a ``.keras`` file, SavedModel folder or
            ``.onnx`` file; relative paths are relative to ``root``.
        inputs: name of the input set that feeds it, see :mod:`pytest_gpuperf.inputs`.
        root: folder that relative paths start from.
        weights: file of real weights that the builder is called with, or ``None`` for the builder's own.
    """

    name: str
    source: str
    inputs: str
    root: str = "."
    weights: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """An engine as it was asked for; nothing is loaded yet.

    Attributes:
        kind: row of the engine table, e.g. ``onnxruntime``.
        model: the model it runs.
        precision: of the artefact: ``fp32 fp16 int8 mixed_float16 mixed_bfloat16``.
        max_batch: largest batch that the engine must accept.
        options: what else the engine kind understands (threads, streams, CUDA graph …), all of it a condition.
    """

    kind: str
    model: Model
    precision: str = "fp32"
    max_batch: int = 64
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSpec:
    """Seeded input batches by name; both processes make the same arrays from it.

    Attributes:
        inputs: name of the input set.
        batch: samples per call.
        samples: samples in the whole rotating set (a multiple of ``batch``).
        seed: of the generator.
        root: folder that a ``file.py:function`` input set starts from.
    """

    inputs: str
    batch: int
    samples: int
    seed: int = 0
    root: str = "."
