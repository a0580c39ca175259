"""What this process's allocators hold, and how much of that is in use: the difference is fragmentation, or a cache.

Only allocators that tell both numbers are read: the C library's heap, and CUDA's memory pool of device 0, which serves
whoever allocates by ``cudaMallocAsync``. What NVML shows of a process is neither: it includes the CUDA context.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

_MIB = 1024 * 1024
#: CUmemPool_attribute of cuda.h: RESERVED_MEM_CURRENT and USED_MEM_CURRENT.
_RESERVED, _USED = 5, 7


class _Mallinfo(ctypes.Structure):
    """``struct mallinfo2`` of malloc.h (glibc 2.33 and later); bytes, over all arenas."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
                     "keepcost")
    )  # fmt: skip


def held() -> tuple[float, float] | None:
    """Return MiB reserved and MiB used: of CUDA's pool where it is in use, else of the heap, where that tells."""
    return pool(_cuda()) or heap(ctypes.CDLL(None))


def heap(libc: Any) -> tuple[float, float] | None:
    """Return the C library's heap; ``None`` for one without ``mallinfo2``."""
    try:
        tell = libc.mallinfo2
    except AttributeError:
        return None
    tell.restype = _Mallinfo
    info = tell()
    return (info.arena + info.hblkhd) / _MIB, (info.uordblks + info.hblkhd) / _MIB


def pool(cuda: Any) -> tuple[float, float] | None:
    """Return device 0's memory pool; ``None`` without CUDA, or where nobody allocates from it."""
    handle = ctypes.c_void_p()
    if cuda is None or cuda.cuDeviceGetDefaultMemPool(ctypes.byref(handle), 0) != 0:
        return None
    reserved, used = ctypes.c_uint64(), ctypes.c_uint64()
    for attribute, size in ((_RESERVED, reserved), (_USED, used)):
        if cuda.cuMemPoolGetAttribute(handle, attribute, ctypes.byref(size)) != 0:
            return None
    return (reserved.value / _MIB, used.value / _MIB) if reserved.value else None


def _cuda() -> Any:
    """Return the driver's library if an engine has loaded it; looking at memory starts no CUDA."""
    try:
        return ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return None
