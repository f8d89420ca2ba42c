"""exp and sums of logarithms, as the losses need them, cheaper than the C library's.

Around a call into the C library the compiler saves every vector register, and the call takes as
long as a dot product of 64 factors. Here exp is inlined, and logarithms are summed as products.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import math

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from recsys.kernels.jit import kernel

_0, _1 = np.float32(0), np.float32(1)
_LOG2_E = np.float32(1 / math.log(2))
_LOWEST, _HALF = np.float32(-126), np.float32(0.5)  # 2^-126 is the least normal float32
_BIAS, _MANTISSA = np.int32(127), np.int32(23)
# 2^f for |f| <= 1/2, interpolated at Chebyshev nodes: within 3e-9, less than float32 can express
_C0, _C1, _C2, _C3, _C4, _C5, _C6 = (
    np.float32(c)
    for c in (
        *(1.0, 0.6931472067028329, 0.24022650922289554, 0.05550327226669895),
        *(0.00961805667843204, 0.0013400428177711937, 0.00015461444724808513),
    )
)
_FULL = 1e250  # room for many more factors


@intrinsic
def _float_of_bits(typingctx, bits):  # noqa: ARG001
    """The float32 with the bits of an int32."""

    def codegen(context, builder, sig, args):  # noqa: ARG001
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@kernel(inline=True)
def exp_of_negative(x):
    """exp(x) for float32 x <= 0. NaN stays NaN; anything below -87.3 is taken as -87.3.

    The relative error is at most 1e-6 for x > -16 and 5e-6 below.
    """
    y = x * _LOG2_E
    y = _LOWEST if y < _LOWEST else y  # this way around, so that a NaN passes
    whole = np.int32(y - _HALF)  # towards zero, so this is the nearest whole number
    f = y - np.float32(whole)
    square = f * f
    high = (_C4 + _C5 * f) + square * _C6
    power = (_C0 + _C1 * f) + square * ((_C2 + _C3 * f) + square * high)
    return power * _float_of_bits((whole + _BIAS) << _MANTISSA)


@kernel(inline=True)
def logistic(x):
    """(sigmoid(x), 1 + exp(-|x|)) for float32 x, stable for any x.

    softplus(x) is max(x, 0) plus the logarithm of the second one, which `add_log` adds.
    """
    tail = exp_of_negative(-abs(x))
    factor = _1 + tail
    return (tail if x <= _0 else _1) / factor, factor


@kernel(inline=True)
def add_log(total, product, factor):
    """(total, product), float64, after adding log(factor) to total + log(product).

    In this way a sum of logarithms takes one multiplication per term. factor: above 0, at most
    1e50.
    """
    product = product * np.float64(factor)
    if product > _FULL:
        return total + math.log(product), 1.0
    return total, product
