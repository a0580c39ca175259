"""Do the outputs of a timed call still agree with those of the evaluation? A fast engine that answers wrongly is not.

MLPerf's compliance TEST01 asks the same: accuracy in performance mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pytest_gpuperf.errors import OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest difference allowed between two runs of the same engine on the same batch, in units of the output's root
#: mean square. Two such runs are usually equal bit by bit; where they are not, the order of a parallel sum changed,
#: which moves an FP32 result by some 1e-6 of the RMS, and one of reduced precision by its own rounding step.
MAX_DIFFERENCE = {"fp32": 1e-3}
MAX_DIFFERENCE_REDUCED = 5e-2


def check(
    timed: Mapping[str, NDArray[np.generic]], evaluated: Mapping[str, NDArray[np.generic]], *, precision: str
) -> None:
    """Compare one batch's outputs, tensor by tensor.

    A NaN that the evaluation saw too is accuracy's business, which names it; here only new ones count.

    Args:
        timed: outputs of the last timed call.
        evaluated: outputs of the evaluation of the same batch.
        precision: of the engine; decides the tolerance.

    Raises:
        OutputError: a tensor is missing, has another shape, new non-finite values, or moved too far.
    """
    limit = MAX_DIFFERENCE.get(precision, MAX_DIFFERENCE_REDUCED)
    if timed.keys() != evaluated.keys():
        raise _changed("its names", ", ".join(sorted(timed)), ", ".join(sorted(evaluated)))
    for name, before in evaluated.items():
        now = timed[name]
        if now.shape != before.shape or now.dtype != before.dtype:
            raise _changed(repr(name), f"{now.dtype} {now.shape}", f"{before.dtype} {before.shape}")
        if now.tobytes() != before.tobytes():
            _compare(name, now.astype(np.float64), before.astype(np.float64), limit)


def _compare(name: str, now: NDArray[np.float64], before: NDArray[np.float64], limit: float) -> None:
    finite = np.isfinite(before)
    if not np.array_equal(np.isfinite(now), finite):
        count = int((~np.isfinite(now) & finite).sum())
        raise _changed(repr(name), f"{count} values that are not finite any more", "as finite as in the evaluation")
    if not finite.any():
        return
    rms = float(np.sqrt(np.mean(np.square(before[finite]))))
    difference = float(np.max(np.abs(now[finite] - before[finite])))
    if difference > limit * rms:
        raise _changed(
            repr(name), f"a difference of {difference:.3g}", f"at most {limit * rms:.3g} ({limit:g} of the RMS)"
        )


def _changed(tensor: str, got: str, expected: str) -> OutputError:
    return OutputError(
        f"outputs changed during timing: {tensor}",
        got=got,
        expected=expected,
        hint="the numbers are void; look for buffers shared between calls, or a run that reported no error",
    )
