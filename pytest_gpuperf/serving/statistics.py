"""What Triton counted itself: batches by size, time in the queue, requests that failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Batch sizes that are named in a sentence.
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A model's counters over a stretch of time.

    Attributes:
        batches: size → executions.
        requests, failed: answered well, and not.
        queue_ms, compute_ms: means per request and per execution.
    """

    batches: dict[int, int] = field(default_factory=dict)
    requests: int = 0
    failed: int = 0
    queue_ms: float = 0.0
    compute_ms: float = 0.0

    @property
    def mean_batch(self) -> float:
        """Samples per execution."""
        executions = sum(self.batches.values())
        return sum(size * count for size, count in self.batches.items()) / executions if executions else 0.0

    def figures(self) -> dict[str, float | None]:
        """Return the counters of a run at saturation by name, for the results file."""
        sizes = {f"batches_of_{size}": float(count) for size, count in sorted(self.batches.items())}
        return {"saturated_queue_ms": self.queue_ms, "saturated_compute_ms": self.compute_ms, **sizes}

    def __str__(self) -> str:
        samples = sum(size * count for size, count in self.batches.items()) or 1
        often = sorted(self.batches, key=lambda size: -size * self.batches[size])[:SHOWN]
        shares = ", ".join(f"{size * self.batches[size] / samples:.0%} in batches of {size}" for size in often)
        return f"mean batch {self.mean_batch:.1f} ({shares}), queue {self.queue_ms:.2f} ms"


def between(before: Any, after: Any) -> Statistics:
    """Return what happened between two readings of KServe's ``ModelStatistics``."""
    earlier = {batch.batch_size: batch.compute_infer.count for batch in before.batch_stats}
    was, now = before.inference_stats, after.inference_stats
    requests = now.success.count - was.success.count
    executions = after.execution_count - before.execution_count
    spent_ns = sum(batch.compute_infer.ns for batch in after.batch_stats)
    spent_ns -= sum(batch.compute_infer.ns for batch in before.batch_stats)
    batches = {
        int(batch.batch_size): int(batch.compute_infer.count - earlier.get(batch.batch_size, 0))
        for batch in after.batch_stats
    }
    return Statistics(
        batches={size: count for size, count in batches.items() if count},
        requests=int(requests),
        failed=int(now.fail.count - was.fail.count),
        queue_ms=(now.queue.ns - was.queue.ns) / max(1, requests) / 1e6,
        compute_ms=spent_ns / max(1, executions) / 1e6,
    )
