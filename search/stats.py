"""Is one config better than another, and by how much? Tests and intervals over users.

Shapes: R replicates (fresh splits), U users, B bootstrap samples. The user is the unit
throughout: replicates share their users, so they make each user's value more precise but are never
counted as independent observations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from search.words import level, number

PROVEN = 0.05  # below this p, after correction, a gain is called real
# 2 / 2^5 > PROVEN: no pattern of the signs of 5 users is rare enough to prove anything.
LEAST_USERS = 6
# How much the difference of two configs varies between users, in units of average precision: the
# standard deviation on MovieLens-100K. Other data differ; this is for a first estimate.
USUAL_SPREAD = 0.1
BLOCK = 1 << 20  # numbers drawn at a time, which limits the memory for any number of users


@dataclass(frozen=True)
class PairedComparison:
    """Config a against config b, in units of the metric.

    gain: above 0 where a is better. low, high: 95% interval of the gain. p: two-sided. p_adjusted:
    corrected for several comparisons (equal to `p` if there is only one). detectable: smaller gaps
    than this would not have been called real with these users and comparisons. users, replicates:
    how many took part.
    """

    gain: float
    low: float
    high: float
    p: float
    p_adjusted: float
    detectable: float
    users: int
    replicates: int

    @property
    def proven(self) -> bool:
        """Whether the difference, in either direction, is real by both test and interval."""
        return self.p_adjusted < PROVEN and (self.low > 0 or self.high < 0)


def compare_paired(
    a_RU: ArrayLike,
    b_RU: ArrayLike,
    rng: np.random.Generator,
    *,
    n: int = 2000,
    flips: int = 9999,
) -> PairedComparison:
    """Compare two configs measured on the same users and replicates.

    a_RU, b_RU: float (R, U), or (U,) for one replicate; NaN where a user has nothing held out
    (a pair counts where both values are known). n: bootstrap samples. flips: sign patterns. A
    user's difference is weighted so that the mean over users equals the difference of the two means
    over replicates that a race shows, even if replicates have different users.

    p comes from the sign-flip test over users: if the configs are equal, every user's difference
    could equally well have had the other sign. It needs no normality (AP differences are mostly
    zeros with heavy tails) and remains valid for a handful of users, where a t test on a variance
    that is small by luck does not; with hundreds of users the two agree. All 2^U sign patterns are
    used if there are at most `flips`, otherwise `flips` random ones, with the observed one counted
    among them, so p is never below 1 / (flips + 1).
    """
    share_U, replicates = _shares(np.atleast_2d(np.asarray(a_RU, np.float64)), b_RU)
    users = len(share_U)
    if users == 0:
        nan = math.nan
        return PairedComparison(nan, nan, nan, 1.0, 1.0, nan, 0, 0)
    low, high = bootstrap_interval(share_U, rng, n=n)
    p = _sign_flip_p(share_U, rng, flips)
    gain = float(share_U.mean())
    detectable = _detectable(share_U, PROVEN)
    return PairedComparison(gain, low, high, p, p, detectable, users, replicates)


def _shares(a_RU: NDArray[np.float64], b: ArrayLike) -> tuple[NDArray[np.float64], int]:
    """Each user's share of the gain, (U',), whose mean is the gain; and how many replicates were
    used.
    """
    b_RU = np.atleast_2d(np.asarray(b, np.float64))
    assert a_RU.shape == b_RU.shape, f"got {a_RU.shape} and {b_RU.shape}, expected equal shapes"
    diff_RU = a_RU - b_RU
    known_RU = ~np.isnan(diff_RU)
    count_R = known_RU.sum(axis=1)
    used_R = count_R > 0
    replicates = int(used_R.sum())
    taking_part_U = known_RU.any(axis=0)
    users = int(taking_part_U.sum())
    if users == 0:
        return np.empty(0), 0
    weight_R = np.where(used_R, users / (replicates * np.maximum(count_R, 1)), 0.0)
    share_U = weight_R @ np.where(known_RU, diff_RU, 0.0)
    return share_U[taking_part_U], replicates


def _sign_flip_p(x_U: NDArray[np.float64], rng: np.random.Generator, flips: int) -> float:
    """Two-sided p of the sign-flip test that the mean of x_U is zero."""
    x_U = x_U[x_U != 0]  # a zero has no sign: without it every pattern has the same sum
    observed = abs(x_U.sum())
    # Sums of equal patterns may differ in the last bits, by the order of addition.
    bar = observed - 1e-12 * np.abs(x_U).sum()
    if len(x_U) == 0 or bar <= 0:
        return 1.0
    if len(x_U) < 63 and 2 ** len(x_U) <= flips:
        patterns = np.arange(2 ** len(x_U))[:, None] >> np.arange(len(x_U)) & 1
        return float(np.mean(np.abs((2.0 * patterns - 1.0) @ x_U) >= bar))
    extreme, total = 0, x_U.sum()
    step = max(1, BLOCK // len(x_U))
    for start in range(0, flips, step):
        rows = min(step, flips - start)
        bits = np.frombuffer(rng.bytes(rows * len(x_U) // 8 + 1), np.uint8)
        kept = np.unpackbits(bits, count=rows * len(x_U)).reshape(rows, len(x_U))
        extreme += int(np.sum(np.abs(2.0 * (kept.astype(np.float64) @ x_U) - total) >= bar))
    return (extreme + 1) / (flips + 1)


def _detectable(x_U: NDArray[np.float64], alpha: float) -> float:
    """The gap from which a mean of numbers with the spread of x_U is called real at `alpha`."""
    users = len(x_U)
    if users < 2:
        return math.inf
    quantile = float(special.stdtrit(users - 1, 1 - alpha / 2))
    return quantile * float(x_U.std(ddof=1)) / math.sqrt(users)


def expected_reach(users: int) -> float:
    """The smallest gap that `users` users can prove, if they differ as users usually do."""
    if users < 2:
        return math.inf
    quantile = float(special.stdtrit(users - 1, 1 - PROVEN / 2))
    return quantile * USUAL_SPREAD / math.sqrt(users)


def bootstrap_interval(
    per_user: ArrayLike, rng: np.random.Generator, level: float = 0.95, n: int = 2000
) -> tuple[float, float]:
    """Interval of the mean over users, from `n` resamples of the users.

    per_user: float (U,), NaN where a user has nothing held out. level: the probability that the
    interval covers. The ends are percentiles of the resampled means, widened for small U as in
    Hesterberg, "What Teachers Should Know About the Bootstrap" (The American Statistician, 2015),
    section 4.1: plain percentiles are too narrow by a factor sqrt((U-1)/U), and by using the normal
    instead of the t quantile. For a single user there is no interval: (nan, nan).
    """
    x_U = np.asarray(per_user, np.float64)
    assert x_U.ndim == 1, f"got shape {x_U.shape}, expected (U,)"
    x_U = x_U[~np.isnan(x_U)]
    users = len(x_U)
    if users < 2:
        return math.nan, math.nan
    quantile = special.stdtrit(users - 1, (1 - level) / 2) * math.sqrt(users / (users - 1))
    tail = float(special.ndtr(quantile))
    means_B = np.empty(n)
    step = max(1, BLOCK // users)
    for start in range(0, n, step):
        rows = min(step, n - start)
        means_B[start : start + rows] = x_U[rng.integers(0, users, (rows, users))].mean(axis=1)
    low, high = np.quantile(means_B, [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(per_user: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean over users by Student's t: for many means, where the bootstrap would
    take seconds for each.

    per_user: float (U,). For fewer than two users there is no interval: (nan, nan).
    """
    x_U = np.asarray(per_user, np.float64)
    assert x_U.ndim == 1, f"got shape {x_U.shape}, expected (U,)"
    if len(x_U) < 2:
        return math.nan, math.nan
    room = _detectable(x_U, 1 - level)
    mean = float(x_U.mean())
    return mean - room, mean + room


def of_ratio(top_U: ArrayLike, bottom_U: ArrayLike) -> NDArray[np.float64]:
    """A value (U,) for each user, such that the mean is sum(top) / sum(bottom) and varies over
    users as that ratio does (the delta method).

    top_U, bottom_U: float (U,), what each user adds to either sum; the sum of `bottom_U` is not 0.
    """
    top, bottom = np.asarray(top_U, np.float64), np.asarray(bottom_U, np.float64)
    ratio = top.sum() / bottom.sum()
    return np.asarray(ratio + (top - ratio * bottom) / bottom.mean())


def holm(found: Mapping[str, PairedComparison]) -> dict[str, PairedComparison]:
    """The comparisons, in the order given, with `p_adjusted` by Holm's method.

    `detectable` grows with the correction: a gap has to be larger to be seen among several tests.
    There is no correction for the winner being chosen on the same numbers: with two rivals it
    matters little (by simulation; see docs/adr/0060).
    """
    ordered = sorted(found, key=lambda name: found[name].p)
    adjusted: dict[str, PairedComparison] = {}
    highest = 0.0
    for place, name in enumerate(ordered):
        one = found[name]
        highest = max(highest, (len(ordered) - place) * one.p)
        alpha = PROVEN * one.p / highest
        adjusted[name] = replace(
            one,
            p_adjusted=min(1.0, highest),
            detectable=one.detectable * _widened(alpha, one.users),
        )
    return {name: adjusted[name] for name in found}


def _widened(alpha: float, users: int) -> float:
    """By what factor the quantile of `alpha` is further out than that of `PROVEN`."""
    if users < 2:
        return 1.0
    ratio = special.stdtrit(users - 1, 1 - alpha / 2) / special.stdtrit(users - 1, 1 - PROVEN / 2)
    return float(ratio)


def verdict(c: PairedComparison, rival: str, winner: str = "the winner") -> str:
    """A comparison in words, with its numbers; with a gap of 0.0000 the two are called level."""
    if c.users == 0:
        return f"{winner} against {rival}: no user has held-out items, nothing can be said"
    users = "the only user" if c.users == 1 else f"every one of the {c.users} users"
    if c.gain == 0 and (c.users == 1 or c.low == c.high == 0):
        return f"{winner} and {rival} are equal for {users}"
    small = level(c.gain)
    said = f"{winner} and {rival} are level" if small else _gap(c, rival, winner)
    if c.users == 1:
        return f"{said} for the only user: one user proves nothing"
    low, high = (c.low, c.high) if c.gain >= 0 or small else (-c.high, -c.low)
    between = (
        "the same for every user"
        if low == high
        else f"95% interval {number(low)} to {number(high)}"
    )
    numbers = f"{said} ({between}, {p_text(c.p_adjusted)})"
    if c.proven:
        if small:
            return f"{numbers}: a difference too small to matter"
        return f"{numbers}: a real {'gain' if c.gain > 0 else 'loss'}"
    return f"{numbers}: not proven; with these {c.users} users {_reach(c)}"


def _gap(c: PairedComparison, rival: str, winner: str) -> str:
    direction = "better" if c.gain > 0 else "worse"
    return f"{winner} is {direction} than {rival} by {number(abs(c.gain))}"


def _reach(c: PairedComparison) -> str:
    """Why a gap is not proven."""
    if c.users < LEAST_USERS:
        return "no gap, however large, can be proven"
    if c.detectable <= abs(c.gain):  # its size would be enough, but chance may give as much
        return "a gap of this size can still be chance"
    return f"gaps below about {_about(c.detectable)} cannot be proven"


def p_text(p: float) -> str:
    """`p = 0.03`, `p < 0.001`: never `p = 0.000`, nor `p = 0.05` for a p below that."""
    if p < 0.001:
        return "p < 0.001"
    if p >= 0.1:
        return f"p = {p:.2f}"
    texts = (f"{p:.{digits}g}" for digits in range(2, 17))
    return "p = " + next(t for t in texts if (float(t) < PROVEN) == (p < PROVEN))


def _about(value: float) -> str:
    """A value with one significant digit below 0.1, two above."""
    return f"{value:.1g}" if value < 0.1 else f"{value:.2g}"


def rank_by_mean(values: Mapping[str, Iterable[float]]) -> list[str]:
    """Config ids by the mean over their replicates, best first; ties by id."""
    means = {name: float(np.mean(list(one))) for name, one in values.items()}
    return sorted(means, key=lambda name: (-means[name], name))


def explained_share(x: Sequence[object], y: ArrayLike) -> float | None:
    """How much of the ranking of y the parameter x explains on its own, from 0 to 1.

    x: values of one parameter, numbers (cut into five groups of equal size) or words (each a
    group). y: float, of the same length. It is the correlation ratio of the ranks, corrected for
    the number of groups (epsilon squared, Kelley 1935), so that a parameter without effect has 0 on
    average. None with fewer than 10 pairs or fewer than two groups.
    """
    y_N = np.asarray(y, np.float64)
    if len(y_N) < 10:
        return None
    _, place_N, count = np.unique(y_N, return_inverse=True, return_counts=True)
    order = (np.cumsum(count) - (count + 1) / 2)[place_N]  # ranks from 0, ties share the mean
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in x):
        numbers = np.asarray(x, np.float64)
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, 6)[1:-1]))
        group_N = np.searchsorted(edges, numbers, side="left")
    else:
        group_N = np.unique([str(v) for v in x], return_inverse=True)[1]
    found = [order[group_N == g] for g in np.unique(group_N)]
    total = float(((order - order.mean()) ** 2).sum())
    if len(found) < 2 or len(found) >= len(y_N) or total == 0:
        return None
    within = sum(float(((part - part.mean()) ** 2).sum()) for part in found)
    epsilon = 1 - (within / (len(y_N) - len(found))) / (total / (len(y_N) - 1))
    return max(0.0, epsilon)
