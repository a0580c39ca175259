"""The nouns of serving: what is asked of a server, and what one stretch of traffic gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pytest_gpuperf.serving.statistics import Statistics

Scenario = Literal["single_stream", "multi_stream", "server", "offline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How Triton gathers requests into batches.

    Attributes:
        max_batch: largest batch that the engine is given.
        is_dynamic: whether requests of different clients are gathered; ``False`` runs each request as it came.
        max_queue_delay_us: how long a request may wait for company, microseconds.
        preferred: batch sizes that are sent off at once when they can be made; empty lets Triton choose.
        instances: copies of the engine that run at the same time.
    """

    max_batch: int = 64
    is_dynamic: bool = True
    max_queue_delay_us: int = 0
    preferred: tuple[int, ...] = ()
    instances: int = 1

    def __str__(self) -> str:
        if not self.is_dynamic:
            return "no batching"
        sizes = f", preferring {'/'.join(map(str, self.preferred))}" if self.preferred else ""
        return f"dynamic up to {self.max_batch}, delay {self.max_queue_delay_us} us{sizes}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingBudget:
    """Bounds of a served model; ``None`` means unbounded.

    Queue times and batch sizes are the server's own counters, so a server that shows none leaves their bounds open.

    Attributes:
        p99_ms: what 99 % of the requests must be answered within, milliseconds from their scheduled arrival.
        rate: requests per second that the server must bear with ``p99_ms``, one sample each.
        max_error_rate: share of requests that may fail, answer wrongly or get lost.
        min_throughput_sps: samples per second at saturation.
        min_batching_gain: saturated throughput over the same server's without dynamic batching.
        max_queue_ms: mean time of a request in the server's queue at the rate that is judged.
        min_mean_batch: samples per execution at saturation.
    """

    p99_ms: float
    rate: float | None = None
    max_error_rate: float = 0.0
    min_throughput_sps: float | None = None
    min_batching_gain: float | None = None
    max_queue_ms: float | None = None
    min_mean_batch: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One run of LoadGen.

    Attributes:
        scenario: one request in flight, ``samples_per_query`` at once, Poisson arrivals, or all as fast as they go.
        rate_qps: Poisson rate of ``server``; for the others roughly what to expect, since LoadGen plans its queries.
        seconds: shortest duration.
        queries: fewest queries.
        limit_ms: target latency; what lies above it is counted by LoadGen's early stopping.
        percentile: that must stay below ``limit_ms``.
        seed: of arrivals and of the order of samples.
        lost_after_s: a request that is not answered by then is lost.
        in_flight: most requests outstanding where the load generator decides (``offline``).
    """

    scenario: Scenario
    rate_qps: float
    seconds: float = 2.0
    queries: int = 1
    limit_ms: float = 1000.0
    percentile: float = 0.99
    seed: int = 0
    lost_after_s: float = 10.0
    samples_per_query: int = 1
    in_flight: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked: ``module:Class`` of a :class:`~pytest_gpuperf.serving.traffic.System`, and its arguments."""

    kind: str
    arguments: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one run of LoadGen gave.

    Attributes:
        latencies_ms: from the scheduled arrival to the answer, in the order of arrival.
        arrivals_ms: scheduled, from the beginning of the run.
        issue_delays_ms: by which LoadGen was late to ask; part of the latency, as it would be for a user.
        seconds: from the first arrival to the last answer.
        faults: word → number of requests: ``lost``, ``wrong``, or what the server said.
        is_valid: LoadGen's own verdict.
        problems: what speaks against the run in its detail log; a run with problems says nothing about the server.
        counted: by the server meanwhile; ``None`` where it shows nothing.
    """

    traffic: Traffic
    latencies_ms: tuple[float, ...]
    arrivals_ms: tuple[float, ...]
    issue_delays_ms: tuple[float, ...]
    seconds: float
    faults: dict[str, int] = field(default_factory=dict)
    is_valid: bool = False
    problems: tuple[str, ...] = ()
    counted: Statistics | None = None

    @property
    def sps(self) -> float:
        """Answered samples per second."""
        return len(self.latencies_ms) / self.seconds if self.seconds > 0 else 0.0

    @property
    def failed(self) -> int:
        """Requests that were not answered as they should."""
        return sum(self.faults.values())

    def over(self, limit_ms: float, *, is_punctual: bool = False) -> int:
        """Return how many requests were not answered well within ``limit_ms``; a failed one never was.

        Args:
            limit_ms: from the scheduled arrival.
            is_punctual: leave out requests that would have been in time, had the load generator asked in time.
        """
        spared = self.issue_delays_ms if is_punctual else (0.0,) * len(self.latencies_ms)
        late = sum(ms - delay > limit_ms for ms, delay in zip(self.latencies_ms, spared, strict=True))
        return min(len(self.latencies_ms), late + self.failed)
