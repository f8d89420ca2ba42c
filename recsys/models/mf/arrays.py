"""Memory for tables that the processor reads by whole cache lines."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CACHE_LINE = 64


def aligned_zeros(shape: int | tuple[int, ...]) -> NDArray[np.float32]:
    """An array of float32 zeros, C-contiguous, that starts at a cache line (64 bytes).

    numpy aligns to 16 bytes only. A row of 64 floats could then span five lines instead of four,
    and wide loads could touch two of them.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    size = math.prod(shape) * 4
    memory = np.zeros(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(np.float32).reshape(shape)
