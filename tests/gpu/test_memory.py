"""CUDA's memory pool on a real GPU: what the driver tells of it is what was taken from it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_gpuperf.engines.trt import cuda
from pytest_gpuperf.errors import GpuPerfError
from pytest_gpuperf.worker import memory

pytestmark = pytest.mark.gpu
MIB, BLOCK_MIB = 1 << 20, 96


@pytest.fixture(scope="module")
def driver() -> Any:
    """The driver's library, with a context on device 0."""
    try:
        cuda.device(0)
        cuda.Buffer((1,), "float32").free()
    except (GpuPerfError, ImportError) as error:
        pytest.skip(str(error))
    found = memory._cuda()
    assert found is not None, "an engine has loaded it"
    return found


@contextmanager
def taken(driver: Any, size: int) -> Iterator[None]:
    pointer, stream = ctypes.c_uint64(), ctypes.c_void_p()
    assert driver.cuMemAllocAsync(ctypes.byref(pointer), ctypes.c_size_t(size), stream) == 0
    assert driver.cuStreamSynchronize(stream) == 0
    yield
    assert driver.cuMemFreeAsync(pointer, stream) == 0
    assert driver.cuStreamSynchronize(stream) == 0


def test_what_is_taken_from_the_pool_is_used_and_reserved(driver):
    before = memory.pool(driver) or (0.0, 0.0)
    with taken(driver, BLOCK_MIB * MIB):
        reserved, used = memory.pool(driver)
        assert used - before[1] == BLOCK_MIB
        assert reserved >= used > 0
        with taken(driver, 3 * MIB):
            assert memory.pool(driver)[1] == used + 3
            assert memory.held() == memory.pool(driver)  # it goes before the heap
    after = memory.pool(driver) or (0.0, 0.0)
    assert after[1] == before[1]


def test_an_engines_own_memory_is_not_the_pools(driver):
    before = memory.pool(driver)
    buffer = cuda.Buffer((BLOCK_MIB * MIB // 4,), "float32")
    assert memory.pool(driver) == before
    buffer.free()
