"""Memory for tables whose rows the processor reads by the cache line."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike, NDArray

CACHE_LINE = 64


def aligned_zeros(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray:
    """Zeros that start at a cache line, C-contiguous.

    numpy promises 16 bytes only. A row of 64 floats would then lie in five lines instead of four,
    and every wide load would touch two.
    """
    kind = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, int) else shape
    size = math.prod(shape) * kind.itemsize
    memory = np.zeros(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(kind).reshape(shape)
