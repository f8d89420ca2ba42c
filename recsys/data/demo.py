"""Generated data with a known structure, for demonstrations, tests and benchmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR, Interactions

DEMO_USERS, DEMO_ITEMS, DEMO_PAIRS = 300, 200, 9_000


def planted(
    n_users: int,
    n_items: int,
    n_pairs: int,
    *,
    rng: np.random.Generator,
    clusters: int = 8,
    taste: float = 0.85,
    skew: float = 0.6,
    name: str = "planted",
) -> Interactions:
    """About `n_pairs` distinct interactions with taste clusters, popular items and a history.

    Construction. Items are dealt to `clusters` at random; item popularity is (1 + r)^-skew for a
    random order r. A user has an early and a late cluster; activity is log-normal (sigma 0.7,
    at least one interaction). Along the history, the chance of the late cluster grows linearly
    from 0 to 1. An interaction comes from that cluster with probability `taste`, otherwise from
    all items, both times in proportion to popularity. Repeated pairs are drawn again a few
    times, then dropped. So clusters are what a factor model can learn and popularity cannot,
    and the latest items differ from the earliest.

    n_users, n_items: how many there are. rng: draws everything. skew: 0 makes all items equally
    popular. name: of the data. User and item ids are 0..n-1; `ordered` is true. Vectorised: memory
    about 100 bytes per pair.
    """
    assert 0 < clusters <= n_items
    cluster_of = rng.permutation(np.arange(n_items) % clusters)
    weight = (1.0 + rng.permutation(n_items)) ** -skew
    by_cluster = np.argsort(cluster_of, kind="stable")
    cumulated = np.concatenate([[0.0], np.cumsum(weight[by_cluster])])
    edges = cumulated[np.searchsorted(cluster_of[by_cluster], np.arange(clusters + 1))]

    # no user has more than half of the items, so that something is left to recommend
    activity = rng.lognormal(0.0, 0.7, n_users)
    wanted = np.clip(np.round(activity * (n_pairs / activity.sum())), 1, max(1, n_items // 2))
    wanted = wanted.astype(np.int64)
    early, late = rng.integers(0, clusters, (2, n_users))

    users = np.repeat(np.arange(n_users), wanted)
    starts = np.concatenate([[0], np.cumsum(wanted)])
    step = np.arange(len(users)) - starts[users]
    progress = (step + 0.5) / wanted[users]
    key = np.full(len(users), -1, np.int64)
    for _ in range(4):  # draw, and draw repeated pairs again
        todo = np.flatnonzero(key < 0)
        if not len(todo):
            break
        who = users[todo]
        own = np.where(rng.random(len(todo)) < progress[todo], late[who], early[who])
        personal = rng.random(len(todo)) < taste
        low = np.where(personal, edges[own], 0.0)
        high = np.where(personal, edges[own + 1], cumulated[-1])
        at = np.searchsorted(cumulated, low + rng.random(len(todo)) * (high - low), "right") - 1
        key[todo] = who * n_items + by_cluster[np.minimum(at, n_items - 1)]
        key[_repeated(key)] = -1
    known = key >= 0
    return _interactions(key[known], step[known], n_users, n_items, name)


def _repeated(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of values (other than -1) that occurred before."""
    order = np.argsort(key, kind="stable")
    again = np.zeros(len(key), bool)
    again[1:] = (key[order][1:] == key[order][:-1]) & (key[order][1:] >= 0)
    return order[again]


def _interactions(
    key: NDArray[np.int64], step: NDArray[np.int64], n_users: int, n_items: int, name: str
) -> Interactions:
    order = np.argsort(key)
    csr_users, csr_items = np.divmod(key[order], n_items)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(csr_users, minlength=n_users))])
    csr = CSR(indptr, csr_items.astype(np.int32), n_items)
    width = int(step.max(initial=0)) + 1
    by_history = np.argsort(csr_users * width + step[order])
    rank = np.empty(len(key), np.int32)
    rank[by_history] = np.arange(len(key)) - np.repeat(indptr[:-1], np.diff(indptr))
    return Interactions(csr, rank, np.arange(n_users), np.arange(n_items), ordered=True, name=name)


def demo(seed: int = 0) -> Interactions:
    """The `demo` set: 300 users x 200 items, the same for the same seed."""
    rng = np.random.default_rng([seed, 0xDE30])
    return planted(DEMO_USERS, DEMO_ITEMS, DEMO_PAIRS, rng=rng, name="demo")
