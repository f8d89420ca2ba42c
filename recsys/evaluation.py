"""Full-ranking evaluation and recommendation, in blocks of users.

Shapes: B users of a block, V users with held-out items, I items, k places, E held-out pairs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.bounds import Bounds, Ranker, bounds_for
from recsys.errors import InputError
from recsys.interactions import CSR, contested, frozen, popular_items
from recsys.metrics import check_metric, coverage, user_values
from recsys.scoring import DeviceScorer, IntoScorer, Scorer, VectorScorer

if TYPE_CHECKING:  # a space is checked, and a linear model trained, without waiting for torch
    from torch import Tensor

# Users scored by one call, always exactly this many: a matrix product of another shape may round
# differently, and neither `block` nor `threads` may change a result.
TILE = 128


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a model ranks held-out items.

    values: the mean of each metric over users. users: int32 (V,), those with a held-out item and
    another unseen item that competes with it. per_user: for each metric that has a value per user,
    float64 (V,), aligned with `users`, so that two models can be compared pairwise. found: bool
    (E,), aligned with the held-out pairs: whether the item is in its user's list, which has as many
    places as the first metric counts; None if that was not asked for. Users who are not evaluated
    have no list.
    """

    values: dict[str, float]
    users: NDArray[np.int32]
    per_user: dict[str, NDArray[np.float64]]
    found: NDArray[np.bool_] | None = None


def evaluate(
    scorer: Scorer,
    seen: CSR,
    held_out: CSR,
    metrics: Sequence[str],
    *,
    block: int = 1024,
    threads: int = 1,
    pairs: bool = False,
) -> Evaluation:
    """Rank all items but the seen ones for every user with a held-out item.

    A user whose unseen items are all held out is not evaluated: any order of them is perfect. A
    user without any seen item, of whom no model knows anything, gets the most popular items. Equal
    scores rank the lower item first.

    seen, held_out: U x I each, disjoint. metrics: such as map@50. block: how many users a thread
    takes at a time. pairs: whether to return `found`, which needs at least one metric. Memory
    besides the model: threads x 128 x I scores (x 4,096 where `bounds` help) and V x k items.
    Raises ConfigError for an unknown metric or one with more places than there are items,
    InputError where no user can be evaluated, FloatingPointError for a NaN score.
    """
    parsed = [check_metric(name, seen.n_items) for name in metrics]
    assert held_out.n_items == seen.n_items
    assert held_out.n_users == seen.n_users
    degrees = held_out.degrees()
    users = frozen(np.flatnonzero(contested(seen.degrees(), degrees, seen.n_items)), np.int32)
    if not len(users):
        raise InputError(
            "nobody to evaluate: "
            + (
                "no user has an unseen item besides the held-out ones, so any order is perfect"
                if degrees.any()
                else "no user has a held-out item"
            )
        )
    depth = max((metric.k for metric in parsed), default=1)
    items, hits = _rank(scorer, seen, users, depth, held_out, block, threads)
    values: dict[str, float] = {}
    per_user: dict[str, NDArray[np.float64]] = {}
    for metric in parsed:
        if metric.kind == "coverage":
            values[metric.name] = coverage(items, metric.k, seen.n_items)
        else:
            per_user[metric.name] = user_values(metric, hits, degrees[users])
            values[metric.name] = float(per_user[metric.name].mean())
    found = None
    if pairs:
        first = parsed[0].k
        found = _found(held_out, users, items[:, :first], hits[:, :first])
    return Evaluation(values, users, per_user, found)


def _found(
    held_out: CSR,
    users_V: NDArray[np.int32],
    items_Vk: NDArray[np.int32],
    hits_Vk: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Which held-out pairs are hits, bool (E,)."""
    keys_E = held_out.users().astype(np.int64) * held_out.n_items + held_out.indices
    row, place = np.nonzero(hits_Vk)
    keys = users_V[row].astype(np.int64) * held_out.n_items + items_Vk[row, place]
    found = np.zeros(held_out.nnz, np.bool_)
    found[np.searchsorted(keys_E, keys)] = True
    return found


def top_items(
    scorer: Scorer, seen: CSR, users: ArrayLike, k: int, *, threads: int = 1
) -> NDArray[np.int32]:
    """The k best unseen items of each user, best first, int32 (len(users), k).

    Users without any seen item get the most popular ones, unless nobody has a seen item. Rows with
    fewer than k unseen items are padded with -1. seen: U x I. Raises FloatingPointError for a NaN
    score.
    """
    index = frozen(np.array(users), np.int32)
    return _rank(scorer, seen, index, k, None, 1024, threads)[0]


def _rank(
    scorer: Scorer,
    seen: CSR,
    users_V: NDArray[np.int32],
    k: int,
    held_out: CSR | None,
    block: int,
    threads: int,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The best k items of each user, int32 (V, k), and which of them are held out, bool (V, k)."""
    # imported here, so that reading data does not wait a third of a second for compiled code
    from recsys.kernels.topk import mark_hits

    assert block > 0
    assert k > 0
    items = np.empty((len(users_V), k), np.int32)
    hits = np.zeros((len(users_V), k), np.bool_)
    on_device = isinstance(scorer, DeviceScorer) and scorer.device.type != "cpu"
    bounds = None if on_device else _bounds(scorer, len(users_V), k)
    if bounds is not None:
        import torch  # noqa: F401  # for the products of vectors, on one thread: see below
    strangers = (seen.degrees() == 0)[users_V]
    popular = popular_items(seen, k) if strangers.any() and seen.nnz else None

    def work(first: int, last: int) -> None:
        buffer = None
        ranker = None if bounds is None else Ranker(bounds, seen, TILE, k)
        if isinstance(scorer, IntoScorer) and not on_device and ranker is None:
            buffer = np.empty((TILE, seen.n_items), np.float32)
        for start in range(first, last, TILE):
            stop = min(start + TILE, last)
            if ranker is not None:
                ranker.rank(users_V[start:stop], items[start:stop])
            elif on_device:
                assert isinstance(scorer, DeviceScorer)
                items[start:stop] = device_top(scorer, seen, users_V[start:stop], k)
            else:
                _best_of_tile(scorer, seen, users_V[start:stop], items[start:stop], buffer)
        if popular is not None:
            items[first:last][strangers[first:last]] = popular
        if held_out is not None:
            mark_hits(
                items,
                users_V,
                held_out.indptr,
                held_out.indices,
                held_out.n_items,
                hits,
                first,
                last,
            )

    share = min(block, -(-len(users_V) // threads))
    size = -(-share // TILE) * TILE
    pieces = [(low, min(low + size, len(users_V))) for low in range(0, len(users_V), size)]
    with torch_threads(1):  # users are shared among threads; each product has one thread
        if threads == 1 or len(pieces) == 1:
            for low, high in pieces:
                work(low, high)
        else:
            with ThreadPoolExecutor(threads) as pool:
                for done in [pool.submit(work, low, high) for low, high in pieces]:
                    done.result()
    return items, hits


def _bounds(scorer: Scorer, n_users: int, k: int) -> Bounds | None:
    if not isinstance(scorer, VectorScorer) or (vectors := scorer.vectors()) is None:
        return None
    return bounds_for(vectors, n_users, k)


def _best_of_tile(
    scorer: Scorer,
    seen: CSR,
    users_B: NDArray[np.int32],
    out_Bk: NDArray[np.int32],
    buffer: NDArray[np.float32] | None,
) -> None:
    from recsys.kernels.topk import best_unseen

    padded = np.resize(users_B, TILE)
    if buffer is not None:
        assert isinstance(scorer, IntoScorer)
        scorer.score_into(padded, buffer)
        scores = buffer
    else:
        scores = np.ascontiguousarray(scorer.score_users(padded), np.float32)
    assert scores.shape == (TILE, seen.n_items), scores.shape
    bad = best_unseen(scores, users_B, seen.indptr, seen.indices, out_Bk, 0, len(users_B))
    if bad >= 0:
        item = int(np.flatnonzero(np.isnan(scores[bad]))[0])
        raise FloatingPointError(f"the score of user {users_B[bad]} and item {item} is NaN")


def device_top(
    scorer: DeviceScorer, seen: CSR, users_B: NDArray[np.int32], k: int
) -> NDArray[np.int32]:
    """`top_items` by torch on the model's device: only k items per user are copied to the host.

    The scorer's scores must have no gradient. Raises FloatingPointError for a NaN score.
    """
    import torch

    device = scorer.device
    scores = scorer.device_scores(users_B)
    if bool(scores.isnan().any()):
        raise FloatingPointError("the score of a user and an item is NaN")
    keys = _ordered_keys(scores)
    start, size = seen.indptr[users_B], seen.degrees()[users_B]
    row = np.repeat(np.arange(len(users_B)), size)
    offset = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    column = seen.indices[start[row] + offset].astype(np.int64)
    keys[torch.from_numpy(row).to(device), torch.from_numpy(column).to(device)] = -(2**63)
    best = keys.topk(min(k, seen.n_items), dim=1).values
    items = torch.where(best == -(2**63), -1, 0xFFFFFFFF - (best & 0xFFFFFFFF)).int()
    result = np.full((len(users_B), k), -1, np.int32)
    result[:, : items.shape[1]] = items.cpu().numpy()
    return result


def _ordered_keys(scores_BI: Tensor) -> Tensor:
    """Keys, int64 (B, I), that sort like (score, -item): no two are equal, so topk has no ties."""
    import torch

    bits = (scores_BI + 0.0).view(torch.int32)  # + 0.0 turns -0.0 into 0.0
    order = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    item = torch.arange(scores_BI.shape[1], device=scores_BI.device)
    return (order.long() << 32) | (0xFFFFFFFF - item)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within the block torch uses `count` CPU threads; afterwards as many as before.

    If torch was not imported yet, there is nothing to limit.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
