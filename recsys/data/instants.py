"""Points in time as whole seconds since 1970 and nanoseconds, for any year of four digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BILLION = 10**9
_NANOSECONDS_FROM, _NANOSECONDS_TO = -(2**63) // _BILLION + 1, 2**63 // _BILLION - 1


@dataclass(frozen=True, eq=False)
class Instants:
    """Points in time. seconds: int64 (R,). nanos: int32 (R,) below 10^9, or None if all are 0."""

    seconds: NDArray[np.int64]
    nanos: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.seconds)

    @staticmethod
    def of_units(values: NDArray, per_second: int) -> Instants:
        """`values` (int64, or float64 to the microsecond) in units of 1/`per_second` seconds."""
        if values.dtype == np.float64:
            # a float of today's seconds is exact to a quarter of a microsecond, so that 0.1 s and
            # 100 ms are the same instant only after rounding
            whole = np.floor(values / per_second)
            parts = np.rint((values - whole * per_second) * (1e6 / per_second)).astype(np.int64)
            seconds = whole.astype(np.int64) + parts // 10**6
            return Instants(seconds, _nanos(parts % 10**6 * 1000))
        seconds, rest = np.divmod(values, per_second)
        return Instants(seconds, _nanos(rest * (_BILLION // per_second)))

    @staticmethod
    def of_parts(seconds: NDArray[np.int64], nanos: NDArray[np.int64]) -> Instants:
        """From seconds and nanoseconds (R,); the latter are not kept if all are 0."""
        return Instants(seconds, _nanos(nanos))

    def keys(self) -> NDArray[np.int64]:
        """Keys, int64 (R,), that sort as the instants do, and are equal if instants are."""
        if self.nanos is None or not len(self):
            return self.seconds
        low, high = self.seconds.min(), self.seconds.max()
        if low >= _NANOSECONDS_FROM and high <= _NANOSECONDS_TO:
            return self.seconds * _BILLION + self.nanos
        # nanoseconds with a year such as 9999 do not fit into 64 bits, but ranks do
        order = np.lexsort((self.nanos, self.seconds))
        seconds, nanos = self.seconds[order], self.nanos[order]
        new = np.ones(len(order), bool)
        new[1:] = (seconds[1:] != seconds[:-1]) | (nanos[1:] != nanos[:-1])
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.cumsum(new)
        return ranks


def _nanos(values: NDArray[np.int64]) -> NDArray[np.int32] | None:
    return values.astype(np.int32) if values.any() else None


def concatenate(parts: Sequence[Instants]) -> Instants:
    """All `parts`, one after the other."""
    seconds = np.concatenate([np.empty(0, np.int64), *(part.seconds for part in parts)])
    if all(part.nanos is None for part in parts):
        return Instants(seconds)
    nanos = [np.zeros(len(p), np.int32) if p.nanos is None else p.nanos for p in parts]
    return Instants(seconds, np.concatenate(nanos))
