"""A slowdown to be found: with this folder on ``PYTHONPATH`` one batch of TensorRT engines spins on its stream.

``GPUPERF_SPIN_BATCH`` says which batch, ``GPUPERF_SPIN_NS`` for how long, at the GPU's highest clock. The kernel is put
behind the engine's own work on the same stream, so it is inside the events, the CUDA graph and the host's clock.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

SPIN = rb"""
.version 7.0
.target sm_80
.address_size 64
.visible .entry spin(.param .u64 cycles)
{
  .reg .u64 %r<4>;
  .reg .pred %p;
  ld.param.u64 %r0, [cycles];
  mov.u64 %r1, %clock64;
again:
  mov.u64 %r2, %clock64;
  sub.u64 %r3, %r2, %r1;
  setp.lt.u64 %p, %r3, %r0;
  @%p bra again;
  ret;
}
"""


@cache
def kernel() -> tuple[Any, int]:
    """Return the kernel, and its argument: the cycles to spin."""
    from cuda.bindings import driver, runtime

    module = checked(driver.cuModuleLoadData(SPIN + b"\0"))
    khz = checked(runtime.cudaDeviceGetAttribute(runtime.cudaDeviceAttr.cudaDevAttrClockRate, 0))
    return checked(driver.cuModuleGetFunction(module, b"spin")), int(os.environ["GPUPERF_SPIN_NS"]) * khz // 1_000_000


def checked(result: tuple[Any, ...]) -> Any:
    if int(result[0]) != 0:
        raise RuntimeError(f"the planted kernel failed: {result[0]}")
    return result[1] if len(result) > 1 else None


def plant() -> None:
    import ctypes

    from pytest_gpuperf.engines.trt.runtime import TensorRTBinding

    honest = TensorRTBinding._enqueue

    def slowed(self: Any, stream: int) -> None:
        honest(self, stream)
        if next(iter(self._shapes.values()))[0] == int(os.environ["GPUPERF_SPIN_BATCH"]):
            from cuda.bindings import driver

            function, cycles = kernel()
            arguments = ((cycles,), (ctypes.c_uint64,))
            checked(driver.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, arguments, 0))

    TensorRTBinding._enqueue = slowed


if "GPUPERF_SPIN_NS" in os.environ:
    plant()
