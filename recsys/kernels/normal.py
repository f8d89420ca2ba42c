"""The logarithm of the lower tail of a normal distribution.

Results are the same, to the last bit, as those of plain Python.
"""

# mypy: disallow_untyped_defs=False
# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import math

from recsys.kernels.jit import exact

FAR = -20.0  # at and below this the tail is computed as a series in 1 / x^2
EPSILON = 2.0**-52


@exact("float64(float64)")
def tail(a):
    """P(X <= a) for a standard normal X."""
    x = a / 2**0.5
    if x < -1 / 2**0.5:
        return 0.5 * math.erfc(-x)
    if x < 1 / 2**0.5:
        return 0.5 + 0.5 * math.erf(x)
    return 1.0 - 0.5 * math.erfc(x)


@exact("float64(float64, float64)")
def log_far_tail(a, two):
    """log P(X <= a) for a standard normal X and a at or below FAR.

    Leading terms plus the logarithm of a series, summed until it no longer changes. two: 2.0. It is
    an argument so that the compiler does not know it: Python squares with `pow`, whose result is
    not always a * a.
    """
    square = math.pow(a, two)
    leading = -0.5 * square - math.log(-a) - 0.5 * math.log(2 * math.pi)
    before, total, term, step, sign = 0.0, 1.0, 1.0, 1.0, 1.0
    n = 0
    while abs(before - total) > EPSILON:
        n += 1
        before = total
        sign = -sign
        step *= 1 / square
        term *= 2 * n - 1
        total += sign * term * step
    return leading + math.log(total)


@exact("void(float64[::1], float64[::1], float64)")
def log_tails(values, into, two):
    """into[n] = log P(X <= values[n]) for a standard normal X; both float64 (N,).

    two: 2.0, see `log_far_tail`.
    """
    for n in range(len(values)):
        a = values[n]
        if a > 6:
            into[n] = -tail(-a)
        elif a > FAR:
            into[n] = math.log(tail(a))
        else:
            into[n] = log_far_tail(a, two)
