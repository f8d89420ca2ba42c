"""xoshiro256++ (Blackman and Vigna 2021) and unbiased bounded integers, in compiled code."""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.jit import kernel

_23, _41, _17, _45, _19, _32 = (np.uint64(k) for k in (23, 41, 17, 45, 19, 32))
_MASK32 = np.uint64(0xFFFFFFFF)
_TWO32 = np.uint64(1 << 32)


def new_states(rng: np.random.Generator, count: int) -> list[NDArray[np.uint64]]:
    """The states of `count` independent generators, one for each thread; each is uint64 (4,)."""
    return list(rng.integers(0, 2**64, size=(count, 4), dtype=np.uint64))


@kernel(inline=True)
def load(state):
    """A state, uint64 (4,), as four numbers, which stay in registers in a loop."""
    return state[0], state[1], state[2], state[3]


@kernel(inline=True)
def store(state, numbers):
    """Write four numbers back to a state, after draws; the opposite of `load`."""
    state[0], state[1], state[2], state[3] = numbers


@kernel(inline=True)
def next64(numbers):
    """(64 random bits as uint64, the four numbers after the draw)."""
    s0, s1, s2, s3 = numbers
    total = s0 + s3
    result = ((total << _23) | (total >> _41)) + s0
    shifted = s1 << _17
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    return result, (s0, s1, s2, (s3 << _45) | (s3 >> _19))


@kernel(inline=True)
def below(numbers, bound):
    """(uniform int64 in [0, bound), the four numbers after the draw), for 0 < bound < 2^32.

    It is exact (Lemire 2019): products that would cause a bias are rejected.
    """
    n = np.uint64(bound)
    bits, numbers = next64(numbers)
    product = (bits >> _32) * n
    if (product & _MASK32) < n:
        threshold = (_TWO32 - n) % n
        while (product & _MASK32) < threshold:
            bits, numbers = next64(numbers)
            product = (bits >> _32) * n
    return np.int64(product >> _32), numbers
