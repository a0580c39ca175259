"""From an ONNX graph to a serialized engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_gpuperf.engines.trt import versions
from pytest_gpuperf.engines.trt.versions import Release
from pytest_gpuperf.errors import ConfigError, EngineError

#: How often each candidate for a layer's kernel is timed in a build for the GPU at hand; TensorRT averages. Its own
#: default is 1, trtexec's is 8. With 1, three builds of ResNet-50 in FP16 at batch 8 took 0.481, 0.490 and 0.517 ms.
KERNEL_TIMINGS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to build; every field shapes the engine, so every field is part of its cache key.

    Attributes:
        opt_batch: batch that kernels are chosen for; equal minimum and maximum make a static engine, the fastest.
        profiles: shape profiles, all alike, one for each execution context that runs at once.
        shared_profile: several contexts may use one shape profile.
        compute_capability: of the GPU to build for, such as ``8.6``; empty = the one of this machine.
        level: TensorRT's optimisation level, 0 … 5; higher builds longer.
    """

    precision: str
    min_batch: int = 1
    opt_batch: int = 1
    max_batch: int = 1
    profiles: int = 1
    shared_profile: bool = True
    compute_capability: str = ""
    tf32: bool = False
    level: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.min_batch <= self.opt_batch <= self.max_batch:
            raise ConfigError(
                "a shape profile needs 1 ≤ min_batch ≤ opt_batch ≤ max_batch",
                got=f"{self.min_batch}, {self.opt_batch}, {self.max_batch}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A serialized engine, and the timing cache as it was after the build (empty = none)."""

    engine: bytes
    timing_cache: bytes = b""


def build(release: Release, graph: Path, plan: Plan, *, timing_cache: bytes = b"") -> Built:
    """Build ``graph`` as ``plan`` says.

    Args:
        release: the TensorRT to build with.
        graph: ONNX file whose first dimension of each input is the batch.
        plan: how to build.
        timing_cache: of an earlier build of the same graph on the same GPU; refused ones are left out.

    Raises:
        ConfigError: TensorRT cannot parse the graph; the message names node, op and reason.
        EngineError: TensorRT parsed the graph and could not build it.
    """
    log: list[str] = []
    logger = release.logger(log)
    builder = release.api.Builder(logger)
    if builder is None:
        raise EngineError(f"{release.name} could not make a builder", got=_tail(log))
    network = release.network(builder)
    _parse(release, network, logger, graph)
    config = builder.create_builder_config()
    config.profiling_verbosity = release.api.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = plan.level
    release.allow(config, precision=plan.precision, tf32=plan.tf32, shared_profile=plan.shared_profile)
    _add_profiles(builder, config, network, plan)
    cache = None
    if plan.compute_capability:
        release.target(config, plan.compute_capability)
    else:
        cache = _timing_cache(config, timing_cache)
        config.avg_timing_iterations = KERNEL_TIMINGS
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(f"{release.name} {release.version} could not build {graph.name}", got=_tail(log))
    return Built(engine=bytes(engine), timing_cache=bytes(cache.serialize()) if cache is not None else b"")


def _parse(release: Release, network: Any, logger: Any, graph: Path) -> None:
    parser = release.api.OnnxParser(network, logger)
    if parser.parse_from_file(str(graph)):
        return
    problems = [versions.parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
    raise ConfigError(
        f"{release.name} {release.version} cannot parse {graph.name}",
        got="; ".join(dict.fromkeys(problems)) or "no reason given",
        hint="change the model or its conversion, or use another engine for it",
    )


def _add_profiles(builder: Any, config: Any, network: Any, plan: Plan) -> None:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if not any(-1 in tuple(tensor.shape) for tensor in inputs):
        return
    for _ in range(plan.profiles):
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            if -1 in tuple(tensor.shape)[1:]:
                raise ConfigError(
                    f"input {tensor.name!r} has a free dimension besides the batch", got=str(tensor.shape)
                )
            shapes = ((batch, *tuple(tensor.shape)[1:]) for batch in (plan.min_batch, plan.opt_batch, plan.max_batch))
            profile.set_shape(tensor.name, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError("TensorRT refused the shape profile", got=str(plan))


def _timing_cache(config: Any, content: bytes) -> Any:
    """Give the build a timing cache: the stored one if TensorRT takes it, else a new one."""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            return None
    return cache


def _tail(log: list[str]) -> str:
    return "; ".join(log[-3:]) or "no reason given"
