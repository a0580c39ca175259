"""TF-TRT's converter: its version gates, the conversion, and what the converted graph is made of.

All of it is as of TensorFlow 2.17, the last release with TF-TRT; the release notes of 2.18 say that it is gone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from pytest_gpuperf.engines.tf import placement, runtime
from pytest_gpuperf.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Batch = Mapping[str, NDArray[np.generic]]

LAST = (2, 17)
ENGINE_OP = "TRTEngineOp"
WORKSPACE_BYTES = 4 << 30
MIN_SEGMENT = 3
"""Fewer operations in a row than this stay in TensorFlow: TF-TRT's own default."""
STRATEGIES = {"dynamic": "Optimal", "range": "Range"}
"""TF-TRT's word for how it makes shape profiles of the batches that it is shown."""
COVERAGE, OUTPUTS = "coverage.json", "outputs.json"
_CHECK = "_check_trt_version_compatibility"


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The TensorRT that TensorFlow was compiled with, and the one that it found."""

    linked: tuple[int, ...]
    loaded: tuple[int, ...]

    @property
    def is_mismatched(self) -> bool:
        """Whether the two differ."""
        return self.linked != self.loaded

    def __str__(self) -> str:
        """Return both, if they differ."""
        loaded = text(self.loaded)
        return f"loaded {loaded}, linked {text(self.linked)}" if self.is_mismatched else loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What of a graph runs in TensorRT.

    Attributes:
        segments: TensorRT engines that the graph was cut into.
        inside: operations that they replace.
        outside: operations left to TensorFlow, by name.
        modes: the segments' precisions, in TF-TRT's words.
    """

    segments: int
    inside: int
    outside: tuple[str, ...]
    modes: frozenset[str]

    @property
    def total(self) -> int:
        """How many operations there are."""
        return self.inside + len(self.outside)

    @property
    def share_pct(self) -> float:
        """Share of the operations that runs in TensorRT, in percent."""
        return 100 * self.inside / self.total if self.total else 0.0


def text(version: tuple[int, ...]) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))


def converter(tf: Any) -> Any:
    """Return the module that converts.

    Raises:
        ConfigError: this TensorFlow has none, or is of a build without TensorRT.
    """
    version = tuple(int(part) for part in tf.__version__.split(".")[:2])
    way_on = "ask for the fixture trt_engine: it builds native TensorRT engines from the same model"
    if version > LAST:
        raise ConfigError(
            "TF-TRT ended with TensorFlow 2.17",
            got=f"TensorFlow {tf.__version__}",
            expected="at most 2.17",
            hint=way_on,
        )
    try:
        from tensorflow.python.compiler.tensorrt import trt_convert
    except ImportError as error:
        raise ConfigError("TF-TRT cannot be loaded", got=str(error), hint=way_on) from error
    if not trt_convert._pywrap_py_utils.is_tensorrt_enabled():  # noqa: SLF001 - nothing public tells
        raise ConfigError(
            "this TensorFlow was built without TensorRT",
            got=f"TensorFlow {tf.__version__}",
            expected="the package tensorflow, not tensorflow-cpu, with TensorRT's libraries on LD_LIBRARY_PATH",
            hint=way_on,
        )
    return trt_convert


def versions(trt_convert: Any) -> Versions:
    """Return the TensorRT versions, linked and loaded."""
    utils = trt_convert._pywrap_py_utils  # noqa: SLF001 - nothing public tells
    return Versions(
        linked=tuple(utils.get_linked_tensorrt_version()), loaded=tuple(utils.get_loaded_tensorrt_version())
    )


def check(found: Versions, *, allow_patch_mismatch: bool) -> None:
    """Refuse a TensorRT that TensorFlow was not compiled with.

    Raises:
        ConfigError: no TensorRT was found, another one than linked, or another patch of it without leave.
    """
    what = "TensorFlow was compiled with another TensorRT than the one that it finds"
    if not any(found.loaded):
        raise ConfigError(
            "TensorFlow finds no TensorRT",
            got="libnvinfer.so cannot be loaded",
            expected=f"TensorRT {text(found.linked)} on LD_LIBRARY_PATH",
        )
    if found.loaded[:2] != found.linked[:2]:
        raise ConfigError(
            what, got=str(found), expected=f"TensorRT {text(found.linked)}", hint="no measurement was made"
        )
    if found.is_mismatched and not allow_patch_mismatch:
        raise ConfigError(
            what,
            got=str(found),
            expected=f"TensorRT {text(found.linked)}",
            hint="to measure nevertheless set gpuperf_tftrt_allow_patch_mismatch = true; every report will say so",
        )


def convert(
    trt_convert: Any,
    source: str,
    target: Path,
    *,
    precision: str,
    shapes: str,
    batches: Sequence[Batch],
    calibration: Sequence[Batch],
) -> None:
    """Convert the SavedModel ``source``, build an engine for each of ``batches``, and save all of it as ``target``.

    Args:
        trt_convert: from :func:`converter`.
        source: folder of the SavedModel.
        target: folder to write.
        precision: ``fp32``, ``fp16`` or ``int8``.
        shapes: ``static`` for an engine per batch size; ``dynamic`` for one with a shape profile per batch size, where
            operations on shapes are converted too; ``range`` for one profile from the smallest to the largest.
        batches: one of each size, smallest first.
        calibration: batches of one size, for INT8.
    """
    more = {}
    if shapes in STRATEGIES:
        more = {"use_dynamic_shape": True, "dynamic_shape_profile_strategy": STRATEGIES[shapes]}
    with _without_its_check(trt_convert):
        made = trt_convert.TrtGraphConverterV2(
            input_saved_model_dir=source,
            input_saved_model_signature_key=runtime.SIGNATURE,
            precision_mode=precision.upper(),
            max_workspace_size_bytes=WORKSPACE_BYTES,
            minimum_segment_size=MIN_SEGMENT,
            maximum_cached_engines=len(batches),
            use_calibration=precision == "int8",
            allow_build_at_runtime=False,
            **more,
        )
        made.convert(**({"calibration_input_fn": lambda: iter(calibration)} if precision == "int8" else {}))
        made.build(input_fn=lambda: iter(batches))
        made.save(str(target), save_gpu_specific_engines=True)
        found = coverage(made._converted_graph_def)  # noqa: SLF001 - what is saved no longer shows all of it
        (target / COVERAGE).write_text(json.dumps([found.segments, found.inside, found.outside, sorted(found.modes)]))
    _, call = runtime.signature(runtime.load(), source)
    (target / OUTPUTS).write_text(json.dumps(sorted(call.structured_outputs)))


def outputs(folder: Path, found: Collection[str]) -> dict[str, str]:
    """Return the model's own name of each output of a converted signature.

    TF-TRT 2.17 names what it saves ``output_0``, ``output_1`` …, in the order in which TensorFlow flattens a
    signature's outputs: by name.

    Args:
        folder: what :func:`convert` wrote.
        found: the converted signature's names.

    Raises:
        ConfigError: they are not as many as the model's.
    """
    own = json.loads((folder / OUTPUTS).read_text())
    if set(found) == set(own):
        return {name: name for name in own}
    if len(found) != len(own):
        raise ConfigError("TF-TRT changed the number of outputs", got=", ".join(found), expected=", ".join(own))
    return dict(zip(sorted(found, key=lambda name: (len(name), name)), own, strict=True))


def read_coverage(folder: Path) -> Coverage:
    """Return what :func:`convert` noted of its graph."""
    segments, inside, outside, modes = json.loads((folder / COVERAGE).read_text())
    return Coverage(segments=segments, inside=inside, outside=tuple(outside), modes=frozenset(modes))


def coverage(graph: Any) -> Coverage:
    """Read from a converted graph what runs in TensorRT: each segment keeps the operations that it replaced."""
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    nodes, waiting = [], list(graph.node)
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
            waiting += functions.get(node.attr["f"].func.name, ())
    segments = [node for node in nodes if node.op == ENGINE_OP]
    inside = sum(
        _is_counted(node) for segment in segments for node in functions.get(segment.attr["segment_func"].func.name, ())
    )
    outside = tuple(node.name for node in nodes if _is_counted(node) and node.op != ENGINE_OP)
    modes = frozenset(segment.attr["precision_mode"].s.decode().lower() for segment in segments)
    return Coverage(segments=len(segments), inside=inside, outside=outside, modes=modes)


def _is_counted(node: Any) -> bool:
    return node.op not in placement.PLUMBING


@contextmanager
def _without_its_check(trt_convert: Any) -> Iterator[None]:
    """Let the converter work with a patch that :func:`check` has let pass."""
    with mock.patch.object(trt_convert, _CHECK, return_value=None):
        yield
