"""TensorRT 8.6, 10, 11 and TensorRT-RTX: which one is here, and every way in which they differ.

=======================  =======================  ==================  =====================
what                     8.6                      10                  11, TensorRT-RTX
=======================  =======================  ==================  =====================
types of the layers      flags FP16, INT8 allow   the ONNX graph's    the ONNX graph's
batch dimension          flag EXPLICIT_BATCH      always explicit     always explicit
contexts on one profile  preview feature          always              always
build for another GPU    no                       no                  RTX only
parser error             node index               node name and op    node name and op
=======================  =======================  ==================  =====================

Sources: the Python API references of the named releases, and ``dir()`` of the wheels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pytest_gpuperf.errors import ConfigError

#: Package name → module, in the order in which they are looked for.
PACKAGES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
EXTRAS = "pip install 'pytest-gpuperf[tensorrt-cu12]' (or tensorrt-cu13, or tensorrt-rtx)"
#: TensorRT's names of element types → NumPy's. (``tensorrt.nptype`` of 8.6 fails with NumPy ≥ 1.24.)
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The installed TensorRT.

    Attributes:
        name: ``tensorrt`` or ``tensorrt-rtx``.
        api: the imported module.
    """

    name: str
    version: str
    api: Any

    @property
    def is_strongly_typed(self) -> bool:
        """Whether layers compute in the graph's own types; else flags allow lower ones."""
        return hasattr(self.api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities such as ``8.6`` that it can build for without having that GPU."""
        if not hasattr(self.api, "ComputeCapability"):
            return ()
        names = (name[2:] for name in dir(self.api.ComputeCapability) if name.startswith("SM"))
        return tuple(
            sorted((f"{name[:-1]}.{name[-1]}" for name in names), key=lambda text: [*map(int, text.split("."))])
        )

    def network(self, builder: Any) -> Any:
        """Return a new network whose types are the graph's where this release can do that."""
        flags = self.api.NetworkDefinitionCreationFlag
        flag = flags.STRONGLY_TYPED if self.is_strongly_typed else flags.EXPLICIT_BATCH
        return builder.create_network(1 << int(flag))

    def allow(self, config: Any, *, precision: str, tf32: bool, shared_profile: bool) -> None:
        """Set exactly the flags that this release needs for ``precision``."""
        flag = self.api.BuilderFlag
        if not self.is_strongly_typed:
            # The INT8 graph's layers without Q/DQ may run in FP16 too: 8.6 has no other way to say "not in FP32".
            for name in {"fp16": ("FP16",), "int8": ("FP16", "INT8")}.get(precision, ()):
                config.set_flag(getattr(flag, name))
            if shared_profile:
                config.set_preview_feature(self.api.PreviewFeature.PROFILE_SHARING_0806, True)
        (config.set_flag if tf32 else config.clear_flag)(flag.TF32)

    def target(self, config: Any, compute_capability: str) -> None:
        """Build for ``compute_capability`` instead of this machine's GPU.

        Raises:
            ConfigError: this release cannot.
        """
        if compute_capability not in self.targets:
            raise ConfigError(
                f"{self.name} {self.version} cannot build for compute capability {compute_capability}",
                expected=f"one of {', '.join(self.targets)}" if self.targets else "a build on the GPU itself",
                hint=None if self.targets else "build on the server, or install pytest-gpuperf[tensorrt-rtx]",
            )
        config.num_compute_capabilities = 1
        value = getattr(self.api.ComputeCapability, f"SM{compute_capability.replace('.', '')}")
        if config.set_compute_capability(value, 0) is False:
            raise ConfigError(f"{self.name} refused to build for compute capability {compute_capability}")

    def logger(self, sink: list[str]) -> Any:
        """Return a TensorRT logger that appends warnings and errors to ``sink``."""
        base = self.api.ILogger
        loud = (base.INTERNAL_ERROR, base.ERROR, base.WARNING)

        class Log(base):  # type: ignore[misc,valid-type]
            def __init__(self) -> None:
                base.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in loud:
                    sink.append(message)

        return Log()

    def profiler(self, sink: dict[str, float]) -> Any:
        """Return a TensorRT profiler that adds each layer's milliseconds to ``sink``."""
        base = self.api.IProfiler

        class Profiler(base):  # type: ignore[misc,valid-type]
            def __init__(self) -> None:
                base.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                sink[layer_name] = sink.get(layer_name, 0.0) + ms

        return Profiler()


def load(package: str = "") -> Release:
    """Import TensorRT: ``package`` if named, else whichever is installed.

    Raises:
        ConfigError: it is not installed, or cannot be loaded.
    """
    if package and package not in PACKAGES:
        raise ConfigError("unknown TensorRT package", got=repr(package), expected=f"one of {', '.join(PACKAGES)}")
    # Loading kernels at first use makes building faster and smaller; newer CUDA versions do it by default.
    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")
    problems = []
    for name in [package] if package else PACKAGES:
        found = _import(name)
        if isinstance(found, Release):
            return found
        problems.append(f"{name}: {found}")
    raise ConfigError("TensorRT is not installed", got="; ".join(problems), hint=EXTRAS)


def _import(package: str) -> Release | Exception:
    try:
        api = import_module(PACKAGES[package])
    except (ImportError, OSError) as error:
        return error
    return Release(name=package, version=str(api.__version__), api=api)


def parser_error(error: Any) -> str:
    """Return node, op and reason of a parser error in one line."""
    reason = " ".join(str(error.desc()).split())
    if getattr(error.code(), "name", "") == "UNSUPPORTED_NODE" and reason in {"", "false"}:
        reason = "TensorRT does not support this operator"
    if not hasattr(error, "node_name"):
        return f"node #{error.node()}: {reason}"
    return f"node {error.node_name()!r} (op {error.node_operator() or 'unknown'}): {reason}"


def dtype(value: Any) -> str:
    """Return NumPy's name for TensorRT's element type.

    Raises:
        ConfigError: NumPy has no such type.
    """
    if value.name not in DTYPES:
        raise ConfigError("an input or output has a type that NumPy lacks", got=value.name, expected=", ".join(DTYPES))
    return DTYPES[value.name]
