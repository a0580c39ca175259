"""What the allocators hold: the heap for real, CUDA's pool by a library that plays it."""

from __future__ import annotations

import ctypes

import pytest

from pytest_gpuperf import window
from pytest_gpuperf.records import Volley
from pytest_gpuperf.worker import memory

BLOCK, COUNT = 1000, 65_536
NOT_INITIALIZED, NOT_SUPPORTED = 3, 801


class Cuda:
    """libcuda with one memory pool; ``rc`` is what the calls return."""

    def __init__(self, reserved: int, used: int, rc: int = 0) -> None:
        self.sizes, self.rc = {5: reserved, 7: used}, rc

    def cuDeviceGetDefaultMemPool(self, handle, device):  # noqa: N802 - the library's own name
        assert device == 0
        handle._obj.value = 42
        return self.rc if self.rc == NOT_INITIALIZED else 0

    def cuMemPoolGetAttribute(self, handle, attribute, size):  # noqa: N802 - the library's own name
        assert handle.value == 42
        size._obj.value = self.sizes[attribute]
        return self.rc


def test_every_other_block_freed_is_memory_that_is_held_and_not_used():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )
    blocks = [libc.malloc(BLOCK) for _ in range(COUNT)]
    full = memory.heap(libc)
    for block in blocks[::2]:
        libc.free(block)
    half = memory.heap(libc)
    for block in blocks[1::2]:
        libc.free(block)

    freed_mib = BLOCK * COUNT / 2 / 2**20
    assert full is not None
    assert half is not None
    assert full[1] - half[1] == pytest.approx(freed_mib, rel=0.05)
    assert half[0] == pytest.approx(full[0], rel=0.01)
    assert half[0] - half[1] > freed_mib * 0.95


def test_a_c_library_that_does_not_tell_is_unknown():
    assert memory.heap(object()) is None


def test_the_pool_is_known_where_it_is_used():
    assert memory.pool(Cuda(512 << 20, 300 << 20)) == (512.0, 300.0)
    assert memory.pool(Cuda(0, 0)) is None
    assert memory.pool(Cuda(1, 1, rc=NOT_SUPPORTED)) is None
    assert memory.pool(Cuda(1, 1, rc=NOT_INITIALIZED)) is None
    assert memory.pool(None) is None


def test_the_pool_comes_before_the_heap(monkeypatch):
    monkeypatch.setattr(memory, "_cuda", lambda: Cuda(2 << 20, 1 << 20))
    assert memory.held() == (2.0, 1.0)
    monkeypatch.setattr(memory, "_cuda", lambda: None)
    reserved, used = memory.held()
    assert reserved >= used > 1


def test_looking_starts_no_cuda():
    assert memory._cuda() is None


def test_a_cases_telemetry_has_what_was_held_after_the_last_volley():
    first, last = (Volley(in_flight=n, calls=1, batch=1, seconds=1.0, held_mib=(8.0 * n, 4.0 * n)) for n in (1, 2))
    assert window.allocator([first, last]) == {"allocator_reserved_mib": 16.0, "allocator_used_mib": 8.0}
    unknown = {"allocator_reserved_mib": None, "allocator_used_mib": None}
    assert window.allocator([Volley(in_flight=1, calls=1, batch=1, seconds=1.0)]) == unknown
    assert window.allocator([]) == unknown
