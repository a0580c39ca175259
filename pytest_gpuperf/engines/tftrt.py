"""TF-TRT: a SavedModel whose operations TensorFlow hands to TensorRT, segment by segment (TensorFlow up to 2.17).

Options of the engine (all strings, all conditions):

========================  ============================  ==========================================================
``batches``               default: ``max_batch``        batch sizes that engines are built for, such as ``1,8,64``
``shapes``                ``static`` (default),         ``static``: an engine per batch size; ``dynamic``: one with a
                          ``dynamic``, ``range``        profile for each; ``range``: one profile from least to largest
``transfers``             ``in_out`` (default), ``none``  whether a call uploads its inputs and fetches its outputs
``min_converted_pct``     default 0                     fewer operations in TensorRT are a ``config`` error
``allow_patch_mismatch``  ``false`` (default), ``true``  see ``gpuperf_tftrt_allow_patch_mismatch``
========================  ============================  ==========================================================

A static engine takes smaller batches too (TF-TRT then works with an implicit batch dimension, and uses the smallest
engine that is large enough), ``range`` all between its ends, ``dynamic`` those that it names. Others are refused:
TF-TRT would fall back to TensorFlow without a word.

How many segments there are and how many operations they hold are conditions: a change that pushes operations out of
TensorRT is another engine, and not comparable with the approved one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_gpuperf.engines.base import Binding, Engine, Progress
from pytest_gpuperf.engines.tf import placement, runtime, store, trt
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, EngineInfo, EngineSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gpuperf.engines.base import Arrays
    from pytest_gpuperf.engines.tf.trt import Coverage, Versions

CALIBRATION_SAMPLES = 32
_CHOICES = {
    "shapes": ("static", *trt.STRATEGIES),
    "transfers": ("in_out", "none"),
    "allow_patch_mismatch": ("false", "true"),
}
_NUMBERS = ("batches", "min_converted_pct")


class TfTrtEngine(Engine):
    """A SavedModel converted by ``TrtGraphConverterV2``, with its TensorRT engines built beforehand and cached."""

    artefact_kind: ClassVar[str] = "savedmodel"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        self._options = options(spec)
        self._batches = sorted({int(size) for size in self._options["batches"].split(",")})
        self._tf = runtime.load()
        self._convert = trt.converter(self._tf)
        self._versions = trt.versions(self._convert)
        trt.check(self._versions, allow_patch_mismatch=self._options["allow_patch_mismatch"] == "true")
        runtime.configure(self._tf, on_gpu=True, threads=None)

    @property
    def artefact_precision(self) -> str:
        """TensorRT lowers the precision of the FP32 model itself."""
        return "fp32"

    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo:
        entry = self._stored(artefact, cache, progress)
        self._loaded, self._signature = runtime.signature(self._tf, str(entry.path))
        self._names = trt.outputs(entry.path, self._signature.structured_outputs)
        self._inputs = self._signature.structured_input_signature[1]
        self._outputs = {self._names[name]: spec for name, spec in self._signature.structured_outputs.items()}
        found = trt.read_coverage(entry.path)
        check(found, float(self._options["min_converted_pct"]))
        self._check_placement()
        progress(f"{found.inside} of {found.total} operations in {found.segments} TensorRT segments")
        return self._describe(artefact, entry, found)

    def _describe(self, artefact: Artefact, entry: store.Entry, found: Coverage) -> EngineInfo:
        return EngineInfo(
            kind=self.spec.kind,
            device="gpu:0",
            provider="TF-TRT",
            precision=max(found.modes),
            artefact=artefact,
            inputs=runtime.tensors(self._inputs),
            outputs=runtime.tensors(self._outputs),
            versions={
                "tensorflow": self._tf.__version__,
                "tensorrt": trt.text(self._versions.loaded),
                "engine_sha256": entry.sha256,
            },
            mode={
                "graph": runtime.SIGNATURE,
                "segments": str(found.segments),
                "converted": f"{found.inside} of {found.total} operations",
                "shapes": self._options["shapes"],
                "batches": ",".join(map(str, self._batches)),
                "tensorrt_match": str(self._versions),
                "transfers": "in, out" if self._options["transfers"] == "in_out" else "none",
            },
            notes=notes(self._versions, found),
        )

    def _stored(self, artefact: Artefact, cache: Path, progress: Progress) -> store.Entry:
        recipe = {
            "savedmodel": artefact.sha256,
            "tensorflow": self._tf.__version__,
            "tensorrt": str(self._versions),
            "device": self._tf.config.experimental.get_device_details(
                self._tf.config.list_physical_devices("GPU")[0]
            ).get("device_name", ""),
            "precision": self.spec.precision,
            "batches": ",".join(map(str, self._batches)),
            "shapes": self._options["shapes"],
            "outputs": "by name",  # of conversions before, nobody knows
        }

        def build(path: Path) -> None:
            progress(f"TF-TRT: converting {self.spec.model.name} to {self.spec.precision}, batches {recipe['batches']}")
            trt.convert(
                self._convert,
                artefact.path,
                path,
                precision=self.spec.precision,
                shapes=self._options["shapes"],
                batches=[self._sample(size) for size in self._batches],
                calibration=self._calibration(),
            )

        return store.get_or_build(cache / "tftrt", recipe, build, progress=progress)

    def _call(self, **feeds: Any) -> dict[str, Any]:
        """Run the signature; TF-TRT numbers its outputs, callers know them by the model's names."""
        return {self._names[name]: tensor for name, tensor in self._signature(**feeds).items()}

    def _sample(self, size: int) -> dict[str, Any]:
        from pytest_gpuperf import inputs

        arrays = inputs.calibration(self.spec.model.inputs, size, self.spec.model.root).arrays
        return {name: self._tf.constant(array) for name, array in arrays.items()}

    def _calibration(self) -> list[dict[str, Any]]:
        """Return calibration samples in batches of the largest size that is built for."""
        if self.spec.precision != "int8":
            return []
        size = self._batches[-1]
        count = max(CALIBRATION_SAMPLES // size, 1)
        arrays = self._sample(count * size)
        return [
            {name: array[start : start + size] for name, array in arrays.items()}
            for start in range(0, count * size, size)
        ]

    def _check_placement(self) -> None:
        """Run once in the smallest size; nothing that computes may stand on the CPU."""
        feeds = self._sample(self._batches[0])
        graphs = placement.partitions(lambda: self._call(**feeds))
        placement.check(placement.counted(self._tf, graphs), "GPU")

    def _bind(self, batch: Arrays) -> Binding:
        check_size(len(next(iter(batch.values()))), self._options["shapes"], self._batches)
        has_transfers = self._options["transfers"] == "in_out"
        return runtime.TensorFlowBinding(
            self._tf, self._call, self._inputs, batch, device="/GPU:0", has_transfers=has_transfers
        )

    def _close(self) -> None:
        del self._signature, self._loaded


def options(spec: EngineSpec) -> dict[str, str]:
    """Return all options of ``spec`` with their defaults filled in.

    Raises:
        ConfigError: an option is unknown, or has an impossible value.
    """
    defaults = {name: values[0] for name, values in _CHOICES.items()}
    defaults |= {"batches": str(spec.max_batch), "min_converted_pct": "0"}
    for name, value in spec.options.items():
        if name not in defaults:
            raise ConfigError(
                f"engine {spec.kind!r} has no option {name!r}", expected=f"one of {', '.join(sorted(defaults))}"
            )
        parts = value.split(",") if name == "batches" else [value]
        if value not in _CHOICES.get(name, (value,)) or (
            name in _NUMBERS and not all(part.isdigit() for part in parts)
        ):
            expected = ", ".join(_CHOICES.get(name, ("whole numbers",)))
            raise ConfigError(f"option {name!r} has an impossible value", got=repr(value), expected=expected)
    return {**defaults, **spec.options}


def check(found: Coverage, min_converted_pct: float) -> None:
    """Refuse a graph that is not what was asked for.

    Raises:
        ConfigError: no TensorRT segment, or fewer operations in TensorRT than ``min_converted_pct``.
    """
    if found.segments and found.share_pct >= min_converted_pct:
        return
    left = ", ".join(found.outside[:5]) + (" …" if len(found.outside) > 5 else "")  # noqa: PLR2004 - enough to see what
    raise ConfigError(
        "TF-TRT left more operations to TensorFlow than allowed",
        got=f"{found.inside} of {found.total} operations in {found.segments} TensorRT segments; outside: {left}",
        expected=f"at least one segment and {min_converted_pct:g} % of the operations",
        hint="look for an operation that TensorRT does not know; TF_TRT_SHOW_DETAILED_REPORT=1 says why each was left",
    )


def check_size(size: int, shapes: str, batches: Sequence[int]) -> None:
    """Refuse a batch size that no TensorRT engine takes.

    Args:
        size: what is to be run.
        shapes: the engine's option.
        batches: what the engines were built for, smallest first.

    Raises:
        ConfigError: TF-TRT would run it in TensorFlow.
    """
    taken = {
        "static": (1 <= size <= batches[-1], f"at most {batches[-1]}"),
        "range": (batches[0] <= size <= batches[-1], f"{batches[0]} to {batches[-1]}"),
        "dynamic": (size in batches, f"one of {', '.join(map(str, batches))}"),
    }
    is_taken, expected = taken[shapes]
    if not is_taken:
        raise ConfigError(
            "no TensorRT engine was built for this batch size",
            got=f"batch {size}",
            expected=expected,
            hint="name it in the engine's option batches; TF-TRT would fall back to TensorFlow without a word",
        )


def notes(versions: Versions, found: Coverage) -> tuple[str, ...]:
    """Return what every report says of this engine."""
    coverage = f"TF-TRT: {found.inside} of {found.total} operations in {found.segments} TensorRT segments"
    if not versions.is_mismatched:
        return (coverage,)
    return coverage, f"TF-TRT with another patch of TensorRT than TensorFlow was compiled with: {versions}"
