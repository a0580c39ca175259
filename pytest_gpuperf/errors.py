"""Every exception of the product, in one tree.

    GpuPerfError
    ├── ConfigError          the input is at fault: option, profile, model, baseline  → verdict ``config``
    │   └── BaselineError    a stored or pending baseline cannot be trusted
    ├── InfraError           the machine is at fault: driver, GPU, disk                → verdict ``infra``
    │   └── WorkerError      the measuring child died, hung or broke the protocol
    └── EngineError          the engine ran and failed: runtime error, out of memory   → verdict ``config``
        └── OutputError      its outputs changed while it was timed                    → verdict ``inaccurate``

A message has up to four parts, in this order: what is wrong, what was got, what was expected, the next step.
"""

from __future__ import annotations


class GpuPerfError(Exception):
    """Base of all errors that a user may see.

    Args:
        what: one sentence that says what is wrong, without a final full stop.
        got: the offending value, already formatted (use ``repr`` for user input).
        expected: what would have been right.
        hint: the next step, an imperative sentence or a command.
    """

    def __init__(
        self, what: str, *, got: str | None = None, expected: str | None = None, hint: str | None = None
    ) -> None:
        self.what = what
        self.got = got
        self.expected = expected
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        lines += [
            f"  {label:<9} {text}"
            for label, text in (("got:", self.got), ("expected:", self.expected), ("next:", self.hint))
            if text
        ]
        return "\n".join(lines)


class ConfigError(GpuPerfError):
    """The input is at fault; nothing that is measured would mean anything."""


class BaselineError(ConfigError):
    """A baseline file or entry cannot be trusted; the message names file, line and column or the JSON path."""


class InfraError(GpuPerfError):
    """The machine is at fault: run again, or elsewhere."""


class WorkerError(InfraError):
    """The measuring child died, hung, or answered outside the protocol."""


class EngineError(GpuPerfError):
    """The engine was built and then failed while it ran."""


class OutputError(EngineError):
    """The engine gave other outputs while it was timed than it gave before for the same inputs."""
