"""TensorRT, whichever release is installed: the ONNX graph is built once per machine and conditions, then loaded.

Options of the engine (all strings, all conditions):

====================  ==========================  =====================================================
``transfers``         ``none`` (default), ``in_out``  whether a call copies inputs in and outputs out
``cuda_graph``        ``on`` (default), ``off``, ``auto``  whether a call launches a captured graph; ``auto``: where
                                                  TensorRT can be captured, and the mode says which it was
``streams``           ``1`` … ``4``               execution contexts, each with a stream
``sync``              ``spin`` (default), ``blocking``  how a call waits
``tf32``              ``off`` (default), ``on``   whether FP32 may be computed in TF32
``min_batch``         default 1                   smallest batch of the shape profile
``opt_batch``         default ``max_batch``       batch that kernels are chosen for
``profiles``          ``shared`` (default), ``separate``  shape profiles of several streams
``level``             ``0`` … ``5``, default 3    TensorRT's optimisation level
``package``           ``tensorrt``, ``tensorrt-rtx``  default: whichever is installed
``device``            default 0                   GPU by CUDA's order
====================  ==========================  =====================================================
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pytest_gpuperf.engines.base import Binding, Engine, Progress
from pytest_gpuperf.engines.trt import cuda, layers, versions
from pytest_gpuperf.engines.trt.builder import KERNEL_TIMINGS, Built, Plan, build
from pytest_gpuperf.engines.trt.runtime import Loaded, Mode
from pytest_gpuperf.engines.trt.store import Entry, Store
from pytest_gpuperf.engines.trt.versions import Release
from pytest_gpuperf.errors import ConfigError, EngineError
from pytest_gpuperf.records import Artefact, EngineInfo, EngineSpec

if TYPE_CHECKING:
    from pytest_gpuperf.engines.base import Arrays

#: Option → its values, the default first.
CHOICES = {
    "transfers": ("none", "in_out"),
    "cuda_graph": ("on", "off", "auto"),
    "streams": ("1", "2", "3", "4"),
    "sync": ("spin", "blocking"),
    "tf32": ("off", "on"),
    "profiles": ("shared", "separate"),
    "level": ("3", "0", "1", "2", "4", "5"),
    "package": ("", *versions.PACKAGES),
}
NUMBERS = ("min_batch", "opt_batch", "device")


class TensorRTEngine(Engine):
    """An engine that TensorRT builds from the ONNX graph, in the graph's own precision."""

    artefact_kind: ClassVar[str] = "tensorrt"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        self._options = options(spec)
        self._loaded: Loaded | None = None

    @property
    def loaded(self) -> Loaded:
        """The engine as TensorRT holds it; raises :class:`EngineError` unless it is open."""
        if self._loaded is None:
            raise EngineError("engine is not open")
        return self._loaded

    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo:
        release = versions.load(self._options["package"])
        device = cuda.device(int(self._options["device"]))
        if artefact.kind == "engine":  # built elsewhere; who named the file, or a baseline, vouches for its sha256
            entry = Entry(engine=Path(artefact.path).read_bytes(), sha256=artefact.sha256, build_s=0.0, recipe={})
        else:
            entry = stored(release, self.spec, artefact, device, cache=cache, progress=progress)
        mode = Mode(
            streams=int(self._options["streams"]),
            has_transfers=self._options["transfers"] == "in_out",
            has_graph=self._options["cuda_graph"] != "off",
            is_blocking=self._options["sync"] == "blocking",
        )
        self._loaded = Loaded(release, entry.engine, device, mode)
        if self._options["cuda_graph"] == "auto" and not self._loaded.can_be_captured():
            self._loaded.close()  # a context is not to be trusted after a capture that failed
            self._loaded = Loaded(release, entry.engine, device, replace(mode, has_graph=False))
        return self._describe(self._loaded, artefact, entry)

    def _describe(self, loaded: Loaded, artefact: Artefact, entry: Entry) -> EngineInfo:
        read_back = layers.precision(loaded.inspect())
        return EngineInfo(
            kind=self.spec.kind,
            device=f"gpu:{loaded.device.index}",
            provider=loaded.release.name,
            precision=read_back or self.spec.precision,
            artefact=artefact,
            inputs=loaded.inputs,
            outputs=loaded.outputs,
            versions={
                loaded.release.name: loaded.release.version,
                "cuda_driver": loaded.device.driver,
                "gpu": loaded.device.name,
                "engine_sha256": entry.sha256,
            },
            mode={
                **{name: self._options[name] for name in CHOICES if name != "package"},
                "cuda_graph": "on" if loaded.mode.has_graph else "off",
                **{name: str(getattr(plan(self.spec), name)) for name in ("min_batch", "opt_batch", "max_batch")},
                "precision_read": "layers" if read_back else "graph",
            },
            has_device_clock=True,
        )

    def _bind(self, batch: Arrays) -> Binding:
        return self.loaded.bind(batch)

    def _profile(self, batch: Arrays, calls: int) -> list[dict[str, float]]:
        return self.loaded.profile(batch, calls=calls)

    def _close(self) -> None:
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None


def options(spec: EngineSpec) -> dict[str, str]:
    """Return all options of ``spec`` with their defaults filled in.

    Raises:
        ConfigError: an option is unknown, or has an impossible value.
    """
    defaults = {name: values[0] for name, values in CHOICES.items()}
    defaults |= {"min_batch": "1", "opt_batch": str(spec.max_batch), "device": "0"}
    for name, value in spec.options.items():
        if name not in defaults:
            raise ConfigError(
                f"engine {spec.kind!r} has no option {name!r}", expected=f"one of {', '.join(sorted(defaults))}"
            )
        if value not in CHOICES.get(name, (value,)) or (name in NUMBERS and not value.isdigit()):
            expected = ", ".join(filter(None, CHOICES.get(name, ("a whole number",))))
            raise ConfigError(f"option {name!r} has an impossible value", got=repr(value), expected=expected)
    return {**defaults, **spec.options}


def plan(spec: EngineSpec, compute_capability: str = "") -> Plan:
    """Return how to build what ``spec`` asks for."""
    chosen = options(spec)
    is_shared = chosen["profiles"] == "shared"
    return Plan(
        precision=spec.precision,
        min_batch=int(chosen["min_batch"]),
        opt_batch=int(chosen["opt_batch"]),
        max_batch=spec.max_batch,
        profiles=1 if is_shared else int(chosen["streams"]),
        shared_profile=is_shared,
        compute_capability=compute_capability,
        tf32=chosen["tf32"] == "on",
        level=int(chosen["level"]),
    )


def stored(
    release: Release,
    spec: EngineSpec,
    artefact: Artefact,
    device: cuda.Device | str,
    *,
    cache: Path,
    progress: Progress,
) -> Entry:
    """Return the built engine for ``spec`` from the cache under ``cache``, building it at need.

    Args:
        release: the TensorRT to build with.
        spec: what was asked for.
        artefact: the ONNX graph.
        device: this machine's GPU, or the compute capability of another one.
        cache: folder of all caches.
        progress: called with one line per long step.
    """
    foreign = device if isinstance(device, str) else ""
    how = plan(spec, foreign)
    recipe = {
        "graph": artefact.sha256,
        "tensorrt": f"{release.name} {release.version}",
        "device": foreign or f"{device.name} {device.compute_capability}",  # type: ignore[union-attr]
        **{name: str(value) for name, value in asdict(how).items()},
        **({} if foreign else {"kernel_timings": str(KERNEL_TIMINGS)}),  # for another GPU nothing is timed
    }

    def make(timing_cache: bytes) -> Built:
        return build(release, Path(artefact.path), how, timing_cache=timing_cache)

    return Store(cache / "tensorrt").get_or_build(recipe, make, progress=progress)
