"""A server under load: the runs that a case or a sweep is made of, each with the server's own counters beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from pytest_gpuperf.errors import ConfigError, EngineError
from pytest_gpuperf.serving import repository, search, statistics, traffic
from pytest_gpuperf.serving.kserve import Client
from pytest_gpuperf.serving.plan import Batching, Target, Traffic, Trial
from pytest_gpuperf.serving.triton import Triton

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from pytest_gpuperf.records import EngineInfo, EngineSpec

    Samples = Mapping[str, NDArray[np.generic]]

WARM_UP_S, SATURATE_S, POISSON_S = 1.0, 2.0, 1.5
#: LoadGen plans as many queries as fit into the time at the expected rate; a first guess, far above most servers.
GUESS_QPS = 5000.0
#: Requests in flight for each sample of the largest batch: one batch runs, one waits, and two are on their way.
DEPTH = 4
MIN_IN_FLIGHT = 64


class Server(Protocol):
    """Something that serves a model."""

    @property
    def url(self) -> str:
        """``grpc://host:port``."""
        ...

    def check(self) -> None:
        """Raise if the server has ended."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class External:
    """A server that somebody else runs; nothing is started, and nothing is ended."""

    def __init__(self, url: str) -> None:
        self.url = url

    def check(self) -> None:
        """Know nothing of its health: requests that fail are counted."""

    def __enter__(self) -> External:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave it running."""


def external(url: str, model: str) -> External:
    """Return the user's server.

    Raises:
        InfraError: it does not answer, or does not know the model.
    """
    with Client(url) as client:
        client.inputs(model)
    return External(url)


def supervised(
    folder: Path, spec: EngineSpec, info: EngineInfo, batching: Batching, *, cache: Path, log: Path
) -> Triton:
    """Start Triton with the engine behind it.

    Args:
        folder: for the model repository.
        spec: the engine.
        info: of the engine once it was open.
        batching: of requests.
        cache: folder that the engine keeps what it builds in.
        log: file of the server's output.

    Raises:
        WorkerError: the server did not become ready.
    """
    models, backends = repository.write(folder, spec.model.name, spec, info, batching, cache=cache.absolute())
    return Triton.start(models, backends, model=spec.model.name, log=log)


class Load:
    """Sends traffic to one server and keeps what came of it.

    Args:
        server: that serves the model.
        samples: inputs by name, each ``(samples, …)``.
        answers: the engine's own outputs for them; what differs much is wrong.
        folder: for the runs' orders and logs.
        model: its name on the server.
        in_flight: requests outstanding at saturation.

    Attributes:
        trials: all runs but the warm-up, in order.
        server: name and version.
    """

    def __init__(
        self, server: Server, samples: Samples, answers: Samples, *, folder: Path, model: str, in_flight: int
    ) -> None:
        import numpy as np

        folder.mkdir(parents=True, exist_ok=True)
        self._server, self._folder, self._model, self._in_flight = server, folder, model, in_flight
        self._samples, self._answers = samples, answers
        stored = {f"in:{name}": array for name, array in samples.items()}
        stored |= {f"out:{name}": array for name, array in answers.items()}
        np.savez(folder / "samples.npz", **stored)  # type: ignore[arg-type] # names are ours
        self._client = Client(server.url)
        self._expected_qps = GUESS_QPS
        self._runs = 0
        self.trials: list[Trial] = []
        self.server = self._client.server()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def check_answers(self) -> None:
        """Ask for each sample once.

        Raises:
            EngineError: an answer lacks an output, or has another shape than the engine's own.
        """
        for index in range(len(next(iter(self._samples.values())))):
            arrays = {name: array[index : index + 1] for name, array in self._samples.items()}
            given = self._client.infer(self._client.request(self._model, arrays))
            for name, array in self._answers.items():
                if name not in given or given[name].shape != (1, *array.shape[1:]):
                    got = "no such output" if name not in given else str(given[name].shape)
                    raise EngineError(f"the server answers {name!r} otherwise", got=got, expected=str(array.shape[1:]))

    def warm_up(self) -> Trial:
        """Run with one request in flight, and learn what to expect."""
        trial = self.send(Traffic(scenario="single_stream", rate_qps=self._expected_qps, seconds=WARM_UP_S))
        self._expected_qps = max(1.0, trial.sps)
        return trial

    def saturate(self) -> Trial:
        """Keep as many requests in flight as the server can make batches of; what comes back is its throughput.

        The first run is short and finds out how much there is to expect.
        """
        first = self._offline(SATURATE_S / 4)
        self._expected_qps = max(1.0, first.sps)
        return self._keep(self._offline(SATURATE_S))

    def poisson(self, rate_qps: float, *, limit_ms: float) -> Trial:
        """Send requests at random times, at this rate on average."""
        plan = Traffic(
            scenario="server",
            rate_qps=rate_qps,
            seconds=POISSON_S,
            queries=search.queries(),
            limit_ms=limit_ms,
            lost_after_s=max(2.0, limit_ms / 100),
            seed=len(self.trials),
        )
        return self._keep(self.send(plan))

    def send(self, plan: Traffic) -> Trial:
        """Run LoadGen once.

        Raises:
            ConfigError: LoadGen is not installed.
            WorkerError: the server or the load generator died.
        """
        self._runs += 1
        arguments = {
            "url": self._server.url,
            "model": self._model,
            "samples": str((self._folder / "samples.npz").absolute()),
            "lost_after_s": str(plan.lost_after_s),
        }
        target = Target(kind="pytest_gpuperf.serving.kserve:System", arguments=arguments)
        before = self._client.statistics(self._model)
        try:
            trial = traffic.run(plan, target, folder=self._folder / str(self._runs))
        finally:
            self._server.check()
        after = self._client.statistics(self._model)
        if not trial.latencies_ms:
            raise ConfigError("no request was answered", got=", ".join(trial.problems) or str(trial.faults))
        return trial if before is None or after is None else replace(trial, counted=statistics.between(before, after))

    def _offline(self, seconds: float) -> Trial:
        plan = Traffic(scenario="offline", rate_qps=self._expected_qps, seconds=seconds, in_flight=self._in_flight)
        return self.send(plan)

    def _keep(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        return trial


def in_flight(batching: Batching) -> int:
    """Return how many requests keep the server's batches full."""
    return max(MIN_IN_FLIGHT, DEPTH * batching.max_batch * batching.instances)
