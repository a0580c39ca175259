"""How a measuring process ended, in words, with the part of its log that says why."""

from __future__ import annotations

import signal
from pathlib import Path

_TAIL_BYTES = 64 * 1024
_TAIL_LINES = 6
# faulthandler's headings: what follows them is the stack, innermost call first.
_STACK_HEADINGS = ("Fatal Python error", "Current thread 0x", "Thread 0x")


def describe(status: int) -> str:
    """Say what a ``Popen.returncode`` means: ``died of SIGSEGV``, ``ended with exit status 0``."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    reason = " (the kernel's out-of-memory killer sends it)" if name == "SIGKILL" else ""
    return f"died of {name}{reason}"


def tail(log: Path, *, start: int = 0) -> list[str]:
    """Return the lines of the log that tell most: the last stack dump's beginning, else the last lines.

    Args:
        log: of the child; a missing file has an empty tail.
        start: byte from which on the log counts (what came before belongs to earlier requests).
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    lines = [line for line in lines if line.strip()]
    stacks = [i for i, line in enumerate(lines) if line.startswith(_STACK_HEADINGS)]
    first = stacks[0] if stacks else max(0, len(lines) - _TAIL_LINES)
    return [line[:160] for line in lines[first : first + _TAIL_LINES]]
