"""TensorRT's building API as each release has it: what a release lacks is an AttributeError, as in the wheel.

Names are those of the Python API references of 8.6, 10 and 11, and of ``dir()`` of TensorRT-RTX 1.7.
"""

from __future__ import annotations

from enum import IntEnum
from types import SimpleNamespace
from typing import Any

NETWORK_FLAGS = {
    "8.6": ["EXPLICIT_BATCH", "EXPLICIT_PRECISION"],
    "10": ["EXPLICIT_BATCH", "STRONGLY_TYPED"],
    "11": ["STRONGLY_TYPED"],
    "rtx": ["STRONGLY_TYPED"],
}
BUILDER_FLAGS = {"8.6": ["FP16", "INT8", "TF32"], "10": ["FP16", "INT8", "TF32"], "11": ["TF32"], "rtx": ["TF32"]}
PREVIEWS = {"8.6": ["PROFILE_SHARING_0806"], "10": ["PROFILE_SHARING_0806"], "11": [], "rtx": []}
VERSIONS = {"8.6": "8.6.0", "10": "10.16.1", "11": "11.4.0", "rtx": "1.7.1.116"}
TARGETS = ["SM80", "SM86", "SM89", "SM120"]


class Recorded:
    """A fake module; what was asked of it is in :attr:`asked`. ``refuse`` names calls that fail."""

    def __init__(self, release: str, *, refuse: frozenset[str] = frozenset(), problems: tuple[Any, ...] = ()) -> None:
        self.release, self.refuse, self.problems = release, refuse, problems
        self.asked: list[tuple[Any, ...]] = []
        self.__version__ = VERSIONS[release]
        self.NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", NETWORK_FLAGS[release], start=0)
        self.BuilderFlag = IntEnum("BuilderFlag", BUILDER_FLAGS[release], start=0)
        self.PreviewFeature = IntEnum("PreviewFeature", [*PREVIEWS[release], "OTHER"], start=0)
        self.ProfilingVerbosity = IntEnum("ProfilingVerbosity", ["LAYER_NAMES_ONLY", "NONE", "DETAILED"], start=0)
        if release == "rtx":
            self.ComputeCapability = IntEnum("ComputeCapability", ["NONE", "CURRENT", *TARGETS], start=0)
        self.ILogger = ILogger
        self.IProfiler = IProfiler

    def Builder(self, logger: Any) -> Any:  # noqa: N802 - TensorRT's name
        return None if "Builder" in self.refuse else Builder(self, logger)

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802 - TensorRT's name
        return SimpleNamespace(
            parse_from_file=lambda path: not self.problems,
            num_errors=len(self.problems),
            get_error=lambda index: self.problems[index],
        )

    def flags(self) -> set[str]:
        """Return the names of the builder flags that were set and not cleared."""
        on: set[str] = set()
        for what, *names in self.asked:
            on = on | {names[0].name} if what == "set_flag" else on - {names[0].name} if what == "clear_flag" else on
        return on


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)


class IProfiler:
    pass


class Builder:
    def __init__(self, api: Recorded, logger: Any) -> None:
        self._api, self._logger = api, logger

    def create_network(self, flags: int) -> Any:
        kinds = [flag.name for flag in self._api.NetworkDefinitionCreationFlag if flags & (1 << int(flag))]
        self._api.asked.append(("create_network", *kinds))
        x = SimpleNamespace(name="x", shape=(-1, 4))
        return SimpleNamespace(num_inputs=1, get_input=lambda index: x)

    def create_builder_config(self) -> Config:
        return Config(self._api)

    def create_optimization_profile(self) -> Any:
        return SimpleNamespace(set_shape=lambda *shapes: self._api.asked.append(("set_shape", *shapes)))

    def build_serialized_network(self, network: Any, config: Config) -> bytes | None:
        if "build_serialized_network" in self._api.refuse:
            self._logger.log(ILogger.ERROR, "no implementation for node conv1")
            return None
        return f"engine of {self._api.release}".encode()


class Config:
    def __init__(self, api: Recorded) -> None:
        self._api = api
        self._profiles = 0

    def __getattr__(self, name: str) -> Any:
        """Record flags, previews and targets; TensorRT answers those with nothing, or with True."""
        if name not in {"set_flag", "clear_flag", "set_preview_feature", "set_compute_capability"}:
            raise AttributeError(name)
        if name == "set_compute_capability" and self._api.release != "rtx":
            raise AttributeError(name)
        return lambda *arguments: self._api.asked.append((name, *arguments))

    def add_optimization_profile(self, profile: Any) -> int:
        if "add_optimization_profile" in self._api.refuse:
            return -1
        self._profiles += 1
        return self._profiles - 1

    def create_timing_cache(self, content: bytes) -> Any:
        return SimpleNamespace(content=content, serialize=lambda: b"timing")

    def set_timing_cache(self, cache: Any, *, ignore_mismatch: bool) -> bool:
        return cache.content != b"of another GPU"


def parser_error(release: str, *, node: str, op: str, reason: str, code: str = "INVALID_NODE") -> Any:
    """Return a parser's error; 8.6 knows a node by its index only."""
    error = SimpleNamespace(node=lambda: 7, desc=lambda: reason, code=lambda: SimpleNamespace(name=code))
    if release != "8.6":
        error.node_name, error.node_operator = (lambda: node), (lambda: op)
    return error
