"""Numbers as people read them: three significant digits, a sign where it means a change, the unit after a space."""

from __future__ import annotations

import math

#: How a unit of a record is written; units not named here are written as they are.
LABELS = {"ms": "ms", "sps": "samples/s", "mib": "MiB", "pct": "%", "x": "x", "fraction": "", "1": "", "s": "s"}


def value(number: float, unit: str = "", digits: int = 3) -> str:
    """Format a number with its unit: ``0.547 ms``, ``34 919 samples/s``, ``2.08 x``.

    At least ``digits`` significant digits are kept; the integer part is never rounded away.
    """
    if not math.isfinite(number):
        text = str(number)
    else:
        whole = len(str(int(abs(number)))) if abs(number) >= 1 else -_leading_zeros(number)
        text = f"{number:,.{max(0, digits - whole)}f}".replace(",", " ")
    label = LABELS.get(unit, unit)
    return f"{text} {label}" if label else text


def change(pct: float, digits: int = 1) -> str:
    """Format a change in percent with its sign: ``+13.7 %``, ``-0.4 %``, ``±0.0 %``."""
    if not math.isfinite(pct):
        return "unbounded"
    text = f"{pct:+.{digits}f}"
    return f"±{text[1:]} %" if float(text) == 0 else f"{text} %"


def seconds(duration_s: float) -> str:
    """Format a duration: ``0.4 s``, ``11 s``, ``2 min 05 s``."""
    if duration_s < 9.95:  # noqa: PLR2004 - where a second digit stops mattering
        return f"{duration_s:.1f} s"
    whole = round(duration_s)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"  # noqa: PLR2004


def _leading_zeros(number: float) -> int:
    """Return how many zeros follow the decimal point of ``0 < |number| < 1``; at most 9 are worth showing."""
    return 0 if number == 0 else min(9, -math.floor(math.log10(abs(number))) - 1)
