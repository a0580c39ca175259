"""The child's side of the conversation: one request at a time, errors answered and not raised."""

from __future__ import annotations

import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gpuperf import engines, errors
from pytest_gpuperf.errors import ConfigError, EngineError, GpuPerfError
from pytest_gpuperf.records import Artefact, BatchSpec, Cost
from pytest_gpuperf.worker import protocol as p
from pytest_gpuperf.worker.channel import Channel, ClosedError
from pytest_gpuperf.worker.loop import Loop

if TYPE_CHECKING:
    from pytest_gpuperf.engines.base import Engine
    from pytest_gpuperf.inputs import Batches

#: What an engine gets that needs no file.
NO_ARTEFACT = Artefact(kind="none", path="", sha256="")


class Server:
    """Holds one engine at a time and answers what the parent asks of it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._engine: Engine | None = None
        self._cost: Cost | None = None
        self._loop: Loop | None = None
        self._inputs: tuple[BatchSpec, Batches] | None = None
        self._said = 0

    def serve(self) -> None:
        """Answer requests until the parent closes the socket."""
        try:
            while True:
                reply = self._answer(p.decode_request(self._channel.receive()))
                self._channel.send(p.encode(reply))
        except ClosedError:
            return
        except GpuPerfError as error:  # the request or the reply broke the protocol: say so, and end
            self._channel.send(p.encode(_failed(error)))

    def _answer(self, request: p.Request) -> p.Message:
        try:
            return self._dispatch(request)
        except ClosedError:
            raise
        except GpuPerfError as error:
            traceback.print_exc()
            return _failed(error)
        except Exception as error:  # noqa: BLE001 - an engine may raise anything, and it travels as EngineError
            traceback.print_exc()
            return _failed(EngineError(f"the engine raised {type(error).__name__}", got=_first_line(error)))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def _dispatch(self, request: p.Request) -> p.Message:
        if isinstance(request, p.Open):
            return self._open(request)
        if isinstance(request, p.Close):
            self._close()
            return p.Closed()
        if self._loop is None:
            raise EngineError("no engine is open", got=type(request).__name__, expected="Open first")
        return _asked(self._loop, request)

    def _open(self, request: p.Open) -> p.Opened:
        """Load the engine, unless it is the one that is loaded already, and bind the batches."""
        self._unbind()
        has_built = False
        if self._engine is None or self._engine.info is None or self._engine.spec != request.spec:
            self._close()
            engine = engines.load(request.spec.kind)(request.spec)
            said = self._said
            artefact = self._prepare(engine, request)
            self._cost = self._count(artefact, request)
            has_built = self._said > said  # who finds everything in the cache has nothing to say
            engine.open(artefact, cache=Path(request.cache), progress=self._progress)
            self._engine = engine
        assert self._engine.info is not None
        info = replace(self._engine.info, cost=self._engine.info.cost or self._cost)
        batches = self._load(request)
        self._loop = Loop(self._engine, list(batches.batches()), batch=request.batches.batch)
        labels = None if batches.labels is None else p.pack(batches.labels)
        return p.Opened(info=info, inputs_digest=batches.digest, labels=labels, has_built=has_built)

    def _load(self, request: p.Open) -> Batches:
        """Make the input set or take it from the bundle, unless it is the last one cut into other batches."""
        from pytest_gpuperf import inputs

        spec = request.batches
        key = replace(spec, batch=spec.samples)
        if self._inputs is None or self._inputs[0] != key:
            if request.bundle is None:
                self._inputs = key, inputs.load(spec)
            else:
                from pytest_gpuperf.convert.bundle import Bundle

                self._inputs = key, Bundle(Path(request.bundle)).batches(request.spec.model.name, spec)
        return replace(self._inputs[1], batch=spec.batch)

    def _prepare(self, engine: Engine, request: p.Open) -> Artefact:
        kind = engine.artefact_kind
        if request.artefact is not None:
            return _given(request.artefact, engine)
        if kind == "none":
            return NO_ARTEFACT
        from pytest_gpuperf import convert
        from pytest_gpuperf.convert.cache import Cache

        if request.bundle is not None and kind != "savedmodel":  # TensorFlow makes its own, where it is
            from pytest_gpuperf.convert.bundle import Bundle

            bundle = Bundle(Path(request.bundle))
            return bundle.artefact(request.spec.model.name, engine.artefact_precision, cache=Path(request.cache))
        return convert.prepare(
            request.spec.model,
            kind=kind,  # type: ignore[arg-type] # convert refuses kinds that it does not know
            precision=engine.artefact_precision,
            cache=Cache(Path(request.cache)),
            progress=self._progress,
        )

    def _count(self, artefact: Artefact, request: p.Open) -> Cost | None:
        if artefact.kind != "onnx" or request.artefact is not None:
            return None
        from pytest_gpuperf.convert import cost
        from pytest_gpuperf.convert.bundle import Bundle
        from pytest_gpuperf.convert.cache import Cache

        spec = request.spec
        if request.bundle and (told := Bundle(Path(request.bundle)).cost(spec.model.name, spec.precision)):
            return told
        return cost.known(artefact, cache=Cache(Path(request.cache)), progress=self._progress)

    def _unbind(self) -> None:
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _close(self) -> None:
        self._unbind()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _progress(self, text: str) -> None:
        self._said += 1
        self._channel.send(p.encode(p.Progress(text=text)))


def _given(artefact: Artefact, engine: Engine) -> Artefact:
    """Check that a file that was made elsewhere is one that the engine loads."""
    loads = {"tensorrt": ("onnx", "engine")}.get(engine.artefact_kind, (engine.artefact_kind,))
    if artefact.kind not in loads:
        raise ConfigError(
            f"{engine.spec.kind} cannot load the live reference's artefact",
            got=f"{artefact.path} ({artefact.kind})",
            expected=f"one of the kind {' or '.join(loads)}",
            hint="choose the tests that it belongs to, for example with -k",
        )
    if artefact.kind == "onnx":
        from pytest_gpuperf.convert import external

        external.refuse(Path(artefact.path))
    return artefact


def _asked(loop: Loop, request: p.Evaluate | p.WarmUp | p.Profile | p.Measure | p.Saturate) -> p.Message:
    """Return what the open engine's loop answers."""
    if isinstance(request, p.Evaluate):
        return p.Evaluated(outputs={name: p.pack(array) for name, array in loop.evaluate().items()})
    if isinstance(request, p.WarmUp):
        return p.WarmedUp(steady=loop.warm_up(max_s=request.max_s))
    if isinstance(request, p.Profile):
        return p.Profiled(layers=loop.profile(calls=request.calls))
    if isinstance(request, p.Measure):
        block = loop.measure(seconds=request.seconds, max_calls=request.max_calls, core=request.core)
        return p.Timed(block=block)
    return p.Saturated(volley=loop.volley(in_flight=request.in_flight, seconds=request.seconds))


def _failed(error: GpuPerfError) -> p.Failed:
    kind = next(base.__name__ for base in type(error).__mro__ if base.__module__ == errors.__name__)
    return p.Failed(kind=kind, what=error.what, got=error.got, expected=error.expected, hint=error.hint)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:500] if lines else "no message"
