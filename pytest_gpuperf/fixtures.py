"""What a test author uses: fixtures, and nothing to know of what happens behind them.

@pytest.mark.parametrize("batch", [1, 8])
def test_resnet50(engine, batched_inputs, gpuperf, batch):
    resnet50 = engine("resnet50", "onnxruntime", precision="int8")
    gpuperf.check(resnet50, batched_inputs("images-224", batch), Budget(min_top1_agreement=0.97))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import BatchSpec, Budget, EngineSpec, Model
from pytest_gpuperf.reference import default as default_reference

if TYPE_CHECKING:
    from pytest_gpuperf.hardware import Machine
    from pytest_gpuperf.profiles import ServerProfile
    from pytest_gpuperf.scaling import ScalingBudget
    from pytest_gpuperf.serving import Batching, ServingBudget
    from pytest_gpuperf.session import Session

SESSION = pytest.StashKey["Session"]()
NO_PROFILE = "no server profile: give --gpu-profile=NAME (or auto), or --gpu-off to run each case once"


class EngineFactory(Protocol):
    """Makes engine specifications; nothing is loaded until ``gpuperf.check``."""

    def __call__(
        self, model: str | Model, kind: str, *, precision: str = "fp32", max_batch: int = 64, **options: object
    ) -> EngineSpec:
        """Specify an engine.

        Args:
            model: a name from the hook ``pytest_gpuperf_models``, or a ``Model``.
            kind: ``tensorflow``, ``tftrt``, ``onnxruntime``, ``tensorrt``, an entry point's name, or ``module:Class``.
            precision: of the artefact.
            max_batch: largest batch that the engine must accept.
            **options: what else the kind understands, such as ``threads=2``; part of the conditions.
        """
        ...


class TrtEngineFactory(Protocol):
    """Makes TensorRT engine specifications."""

    def __call__(
        self, model: str | Model, *, precision: str = "fp16", max_batch: int = 64, **options: object
    ) -> EngineSpec:
        """Specify a TensorRT engine; arguments as for ``engine``."""
        ...


class BatchFactory(Protocol):
    """Makes batch specifications; arrays are made where they are used."""

    def __call__(self, inputs: str, batch: int, *, samples: int | None = None, seed: int = 0) -> BatchSpec:
        """Specify rotating seeded batches.

        Args:
            inputs: ``images-224``, ``tokens-128``, or ``file.py:function`` relative to the test file.
            batch: samples per call.
            samples: samples in the whole set, rounded up to a multiple of ``batch``; default 4 batches, at least 32.
            seed: of the generator.
        """
        ...


class GpuPerf:
    """The fixture ``gpuperf``: measure one case, compare it, judge it, fail the test when it is not good enough."""

    def __init__(self, session: Session, item: pytest.Item) -> None:
        self._session = session
        self._item = item
        self._cases = 0

    def check(
        self,
        engine: EngineSpec,
        inputs: BatchSpec,
        budget: Budget | None = None,
        *,
        reference: EngineSpec | None = None,
        live: EngineSpec | None = None,
    ) -> None:
        """Measure ``engine`` on ``inputs`` and fail the test unless its verdict is green.

        Args:
            engine: from the fixtures ``engine`` or ``trt_engine``.
            inputs: from the fixture ``batched_inputs``.
            budget: absolute bounds; the approved baseline is compared in any case.
            reference: what speed and accuracy are relative to; default: the same model in FP32, see docs.
            live: what the live reference of ``--gpu-against=python:…`` or ``git:…`` runs; default: the same engine.
                It is how two stacks are compared, each under the Python that it needs.
        """
        __tracebackhide__ = True
        from pytest_gpuperf.case import Case

        this = Case(
            **self.asked(engine, inputs),
            budget=budget or Budget(),
            reference=reference or default_reference(engine.model, max_batch=engine.max_batch),
            live=live,
        )
        _fail(self._session.check(self._item, this))

    def asked(self, engine: EngineSpec, inputs: BatchSpec) -> dict[str, Any]:
        """Return what every ``check`` of a test asks for: the fields of a ``Subject``, with the test's next id."""
        self._cases += 1
        path, line, _ = self._item.location
        return {
            "id": self._item.nodeid + (f"#{self._cases}" if self._cases > 1 else ""),
            "suite": self._item.path.stem.removeprefix("test_"),
            "engine": engine,
            "batches": inputs,
            "path": path,
            "line": (line or 0) + 1,
            "cases": self._session.cases,
        }


class Serving:
    """The fixture ``serving``: put a real server before an engine, load it with real traffic, judge, fail the test."""

    def __init__(self, session: Session, item: pytest.Item, gpuperf: GpuPerf) -> None:
        self._session = session
        self._item = item
        self._gpuperf = gpuperf

    def check(
        self, engine: EngineSpec, inputs: BatchSpec, budget: ServingBudget, *, batching: Batching | None = None
    ) -> None:
        """Serve ``engine``, load it with Poisson traffic, and fail the test unless its verdict is green.

        Args:
            engine: from the fixtures ``engine`` or ``trt_engine``.
            inputs: from the fixture ``batched_inputs``; each request asks for one sample of the set.
            budget: the percentile to keep, and at which rate.
            batching: of the server, up to the engine's ``max_batch`` at once unless told otherwise.
        """
        __tracebackhide__ = True
        from pytest_gpuperf.service import Service
        from pytest_gpuperf.serving import Batching

        this = Service(
            **self._gpuperf.asked(engine, inputs),
            budget=budget,
            batching=batching or Batching(max_batch=engine.max_batch),
            log=self._session.settings.logs / "triton.log",
            url=self._session.settings.serving_url,
        )
        _fail(self._session.serve(self._item, this))


class Scaling:
    """The fixture ``scaling``: run an engine on every device of the host, judge what they lose, fail the test."""

    def __init__(self, session: Session, item: pytest.Item, gpuperf: GpuPerf) -> None:
        self._session = session
        self._item = item
        self._gpuperf = gpuperf

    def check(self, engine: EngineSpec, inputs: BatchSpec, budget: ScalingBudget | None = None) -> None:
        """Measure ``engine`` on each device alone and on all together, and fail the test unless its verdict is green.

        Skips the test on a machine with one device.

        Args:
            engine: from the fixtures ``engine`` or ``trt_engine``.
            inputs: from the fixture ``batched_inputs``; every device gets all of it.
            budget: the efficiency to keep, and how it is measured.
        """
        __tracebackhide__ = True
        from pytest_gpuperf.host import Host
        from pytest_gpuperf.scaling import ScalingBudget

        budget = budget or ScalingBudget()
        devices = self._session.devices(budget)
        if len(devices) < 2:  # noqa: PLR2004 - one device scales with nobody
            pytest.skip(f"scaling needs two devices, and there is {', '.join(each.name for each in devices) or 'none'}")
        this = Host(
            **self._gpuperf.asked(engine, inputs), budget=budget, devices=devices, logs=self._session.settings.logs
        )
        _fail(self._session.scale(self._item, this))


@pytest.fixture
def gpuperf(request: pytest.FixtureRequest) -> GpuPerf:
    """Measure, compare and judge one case: ``gpuperf.check(engine, inputs, budget)``."""
    return GpuPerf(_session(request), request.node)


@pytest.fixture
def serving(request: pytest.FixtureRequest, gpuperf: GpuPerf) -> Serving:
    """Measure and judge a served model: ``serving.check(engine, inputs, ServingBudget(p99_ms=20, rate=100))``."""
    return Serving(_session(request), request.node, gpuperf)


@pytest.fixture
def scaling(request: pytest.FixtureRequest, gpuperf: GpuPerf) -> Scaling:
    """Measure and judge an engine on all devices of the host: ``scaling.check(engine, inputs, ScalingBudget())``."""
    return Scaling(_session(request), request.node, gpuperf)


@pytest.fixture(scope="session")
def server_profile(request: pytest.FixtureRequest) -> ServerProfile:
    """The server profile of this session."""
    return _session(request).profile


@pytest.fixture(scope="session")
def gpu(request: pytest.FixtureRequest) -> Machine:
    """The machine that the session runs on, as probed."""
    return _session(request).machine


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> EngineFactory:
    """Specify engines: ``engine("resnet50", "onnxruntime", precision="int8")``."""

    def make(
        model: str | Model, kind: str, *, precision: str = "fp32", max_batch: int = 64, **options: object
    ) -> EngineSpec:
        if kind == "tftrt" and _session(request).settings.tftrt_allow_patch_mismatch:
            options["allow_patch_mismatch"] = "true"  # an option of the engine, so that it is one of its conditions
        if kind == "tensorrt" and _session(request).settings.trt != "auto":
            options.setdefault("package", _session(request).settings.trt)
        return EngineSpec(
            kind=kind,
            model=_model(request, model),
            precision=precision,
            max_batch=max_batch,
            options={name: str(value) for name, value in options.items()},
        )

    return make


@pytest.fixture
def trt_engine(request: pytest.FixtureRequest, engine: EngineFactory) -> TrtEngineFactory:
    """Specify TensorRT engines: ``trt_engine("resnet50", precision="fp16")``; skipped where there is no GPU."""
    profile = _session(request).profile
    if not profile.is_gpu:
        pytest.skip(f"TensorRT runs on GPUs, and the server profile {profile.name!r} has none")

    def make(model: str | Model, *, precision: str = "fp16", max_batch: int = 64, **options: object) -> EngineSpec:
        return engine(model, "tensorrt", precision=precision, max_batch=max_batch, **options)

    return make


@pytest.fixture
def batched_inputs(request: pytest.FixtureRequest) -> BatchFactory:
    """Specify input batches: ``batched_inputs("images-224", batch)``."""

    def make(inputs: str, batch: int, *, samples: int | None = None, seed: int = 0) -> BatchSpec:
        if batch < 1:
            raise ConfigError("a batch has at least one sample", got=repr(batch), expected="an integer of at least 1")
        wanted = max(32, 4 * batch) if samples is None else max(samples, batch)
        return BatchSpec(
            inputs=inputs, batch=batch, samples=-(-wanted // batch) * batch, seed=seed, root=str(request.path.parent)
        )

    return make


def _fail(failure: str | None) -> None:
    __tracebackhide__ = True
    if failure is not None:
        pytest.fail(failure, pytrace=False)


def _session(request: pytest.FixtureRequest) -> Session:
    session = request.config.stash.get(SESSION, None)
    if session is None:
        pytest.skip(NO_PROFILE)
    return session


def _model(request: pytest.FixtureRequest, model: str | Model) -> Model:
    if isinstance(model, Model):
        return model
    offered: list[list[Model]] = request.node.ihook.pytest_gpuperf_models(config=request.config)
    models = {entry.name: entry for entries in offered for entry in entries}
    if model in models:
        return models[model]
    raise ConfigError(
        "unknown model",
        got=repr(model),
        expected=f"one of {', '.join(sorted(models)) or '(none is registered)'}",
        hint="return it from pytest_gpuperf_models(config) in a conftest.py, or pass Model(name=…, source=…, inputs=…)",
    )
