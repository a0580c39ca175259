"""The nouns: frozen records that travel between the stages.

Records know nothing: no I/O, no formatting, no decisions. Fields carry their unit in the name (``_ms _ns _s _mib _pct
_sps``). They are plain dataclasses, so that importing them costs no third-party package; msgspec encodes and decodes
them by their annotations wherever they cross a process or a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

Clock = Literal["host", "device"]
Higher = Literal["better", "worse"]


class Status(str, Enum):
    """What a case came to. Only ``passed`` and ``improved`` are green by default."""

    PASSED = "passed"
    IMPROVED = "improved"
    REGRESSED = "regressed"
    OVER_BUDGET = "over_budget"
    INACCURATE = "inaccurate"
    NEW = "new"
    NOT_COMPARABLE = "not_comparable"
    INCONCLUSIVE = "inconclusive"
    INFRA = "infra"
    CONFIG = "config"

    def __str__(self) -> str:
        return self.value


# --- what the user asks for -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Absolute bounds of one case; ``None`` means unbounded.

    Latencies are in milliseconds of the case's clock (device where the engine has one, else host); throughput in
    samples per second, the batch multiplied; accuracies are fractions of 1; RMSE is absolute, in the output's unit,
    ``max_output_rel_rmse`` is RMSE over the reference's root mean square.
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


# --- what there is ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A model file or folder in the cache.

    Attributes:
        kind: ``savedmodel``, ``onnx`` or ``engine``.
        path: absolute path on this machine.
        sha256: of the content (for a folder: of its sorted relative paths and file digests).
        recipe: what it was made from and with; equal recipes give the same cache entry.
    """

    kind: str
    path: str
    sha256: str
    recipe: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, element type (NumPy's name) and shape (``-1`` = batch) of one input or output."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What the loaded engine really is, read back from the runtime.

    Attributes:
        device: where every node runs, e.g. ``cpu`` or ``gpu:0``.
        provider: the runtime's own name for it, e.g. ``CPUExecutionProvider``.
        precision: the precision that the loaded artefact computes in.
        versions: of the runtime and whatever else shapes its speed.
        mode: how calls are made (threads, transfers, CUDA graph …): a condition.
    """

    kind: str
    device: str
    provider: str
    precision: str
    artefact: Artefact
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    versions: dict[str, str] = field(default_factory=dict)
    mode: dict[str, str] = field(default_factory=dict)
    has_device_clock: bool = False


# --- what was measured ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """How warm-up ended: ``is_steady`` is a status, not an assumption."""

    is_steady: bool
    warmup_runs: int
    warmup_s: float
    drift_pct: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Consecutive timed calls of one process, one in flight.

    Attributes:
        host_ns: submit → result of each call, nanoseconds.
        device_ns: the same calls by the device's clock, empty where there is none.
        started_ns, ended_ns: ``time.monotonic_ns`` around the block, comparable between processes of one machine.
        cpu_ns: CPU time of the measured process over the block.
    """

    host_ns: tuple[int, ...]
    device_ns: tuple[int, ...] = ()
    started_ns: int = 0
    ended_ns: int = 0
    cpu_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Volley:
    """One closed-loop throughput run: ``in_flight`` calls kept outstanding for ``seconds``."""

    in_flight: int
    calls: int
    batch: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number with its unit, confidence bounds and the count it rests on.

    Attributes:
        value: point estimate.
        lower, upper: 95 % bounds, ``None`` where they cannot be had.
        n: samples (or pairs, or processes) behind the estimate.
        higher: whether a larger value is ``better`` or ``worse``.
    """

    value: float
    unit: str
    lower: float | None = None
    upper: float | None = None
    n: int = 1
    higher: Higher = "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyDelta:
    """Outputs against the reference's outputs, or against labels.

    ``None`` = does not apply. Fractions are of 1; ``rmse`` and ``max_abs`` are in the output's unit, ``rel_rmse`` is
    RMSE over the reference's root mean square, ``sqnr_db`` in decibels. The worst output tensor is what counts.
    """

    samples: int
    top1: float | None = None
    reference_top1: float | None = None
    top1_agreement: float | None = None
    rmse: float | None = None
    rel_rmse: float | None = None
    max_abs: float | None = None
    cosine: float | None = None
    sqnr_db: float | None = None
    classes: int | None = None
    mcnemar_p: float | None = None
    nonfinite: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate against reference, measured by alternating blocks in two processes.

    Attributes:
        ratio: candidate latency over reference latency (1.10 = 10 % slower).
        lower, upper: 95 % bounds of ``ratio``.
        pairs: replicated block pairs or process pairs, see ``unit``.
        mde_pct: smallest slowdown that this many pairs could have shown.
        disturbances: what disturbed the run, in words; empty when nothing did.
    """

    ratio: float
    lower: float
    upper: float
    pairs: int
    unit: Literal["block pair", "process pair"]
    mde_pct: float
    seconds: float
    disturbances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All that one case's run gave, before anything is judged."""

    info: EngineInfo
    steady: Steady
    metrics: dict[str, Metric]
    accuracy: AccuracyDelta | None
    comparison: Comparison | None
    conditions: dict[str, str]
    notes: tuple[str, ...] = ()
    telemetry: dict[str, float | None] = field(default_factory=dict)


# --- what was decided -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One judged metric: what it was, what it should have been, and how it was compared.

    ``reference`` says against what: ``live pair``, ``stored``, ``portable``, ``published``, ``budget`` or ``none``.
    """

    metric: str
    status: Status
    measured: Metric | None
    baseline: float | None = None
    limit: float | None = None
    change_pct: float | None = None
    lower_pct: float | None = None
    upper_pct: float | None = None
    reference: str = "none"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one case: the worst finding decides, ``reason`` is one sentence."""

    status: Status
    reason: str
    findings: tuple[Finding, ...] = ()
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case from end to end, as the reports, the journal and the pending files need it."""

    id: str
    suite: str
    model: str
    engine: str
    precision: str
    batch: int
    verdict: Verdict
    measured: Measured | None = None
    seconds: float = 0.0
    reference: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """The machine, as far as numbers depend on it.

    ``machine`` identifies this very host (hashed), ``hardware`` its class (CPU or GPU model, count, instruction set),
    ``software`` the versions that shape speed.
    """

    machine: str
    hardware: dict[str, str]
    software: dict[str, str]
