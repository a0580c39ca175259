"""What there is: artefacts, tensors, and the engine as the runtime describes it."""

from __future__ import annotations

from dataclasses import dataclass, field


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
class Cost:
    """Work and traffic of a model.

    Attributes:
        flop: floating-point (or integer) operations per sample, a multiplication and an addition being two.
        weight_bytes: read once per call, whatever the batch.
        activation_bytes: results of the counted operations per sample; written once and read once if nothing is fused.
    """

    flop: float
    weight_bytes: float = 0.0
    activation_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What the loaded engine really is, read back from the runtime.

    Attributes:
        device: where every node runs, e.g. ``cpu`` or ``gpu:0``.
        provider: the runtime's own name for it, e.g. ``CPUExecutionProvider``.
        precision: the precision that the loaded artefact computes in.
        versions: of the runtime and whatever else shapes its speed.
        mode: how calls are made (threads, transfers, CUDA graph …): a condition.
        cost: of the graph that it runs; ``None`` where that cannot be counted.
        notes: what every report says of it.
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
    cost: Cost | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """The machine, as far as numbers depend on it.

    ``machine`` identifies this very host (hashed), ``hardware`` its class (CPU or GPU model, count, instruction set),
    ``software`` the versions that shape speed.
    """

    machine: str
    hardware: dict[str, str]
    software: dict[str, str]
