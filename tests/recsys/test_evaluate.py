import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from recsys.errors import ConfigError, InputError
from recsys.evaluation import device_top, evaluate, top_items
from recsys.interactions import CSR
from recsys.kernels.topk import best_unseen
from recsys.models.mf.model import LFM
from tests.kernels.helpers import random_pairs


class Table:
    """A scorer that looks its scores up."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self.scores = scores

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        return self.scores[users]


def slow_top(scores: NDArray, seen: CSR, users: NDArray, k: int) -> NDArray:
    """The definition, one user at a time."""
    out = np.full((len(users), k), -1, np.int32)
    counts = seen.item_counts()
    for line, user in zip(out, users, strict=True):
        free = [i for i in range(seen.n_items) if i not in set(seen.row(user).tolist())]
        # nothing is known of someone without items, unless there are no items to have at all
        known = len(free) < seen.n_items or not seen.nnz
        value = scores[user] if known else counts
        best = sorted(free, key=lambda i: (-float(value[i]), i))[:k]
        line[: len(best)] = best
    return out


def test_who_has_nothing_gets_the_most_popular_items() -> None:
    seen = CSR.from_pairs(np.array([0, 0, 2, 3]), np.array([1, 3, 3, 0]), 5, 4)
    held = CSR.from_pairs(np.array([0, 1, 4]), np.array([2, 3, 2]), 5, 4)
    scores = np.tile(np.float32([9, 5, 1, 0]), (5, 1))
    assert top_items(Table(scores), seen, [1, 0], 3).tolist() == [[3, 0, 1], [0, 2, -1]]
    found = evaluate(Table(scores), seen, held, ["hit@1"])
    assert dict(zip(found.users.tolist(), found.per_user["hit@1"], strict=True)) == {
        0: 0.0,
        1: 1.0,
        4: 0.0,
    }


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_items=st.sampled_from([1, 2, 7, 60, 300, 1000]),
    k=st.sampled_from([1, 3, 50, 70]),
    levels=st.sampled_from([1, 2, 5, 10**6]),
    share=st.sampled_from([0.0, 0.3, 0.97, 1.0]),
)
def test_selection_equals_the_slow_twin(
    seed: int, n_items: int, k: int, levels: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels, (4, n_items)) - levels // 2).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    scores[rng.random(scores.shape) < 0.05] = np.inf
    scores[rng.random(scores.shape) < 0.1] = -0.0
    seen = random_pairs(rng, 4, n_items, share)
    users = np.array([2, 0, 3, 1, 2])
    assert_array_equal(top_items(Table(scores), seen, users, k), slow_top(scores, seen, users, k))


def slow_evaluate(scores: NDArray, seen: CSR, held: CSR, k: int) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {"map": [], "recall": [], "ndcg": []}
    for user in range(seen.n_users):
        wanted = set(held.row(user).tolist())
        if not wanted:
            continue
        hits, precisions, gain = 0, 0.0, 0.0
        for place, item in enumerate(slow_top(scores, seen, np.array([user]), k)[0], 1):
            if item in wanted:
                hits += 1
                precisions += hits / place
                gain += 1 / np.log2(place + 1)
        most = min(len(wanted), k)
        values["map"].append(precisions / most)
        values["recall"].append(hits / len(wanted))
        values["ndcg"].append(gain / sum(1 / np.log2(p + 1) for p in range(1, most + 1)))
    return values


def test_evaluate_equals_the_slow_twin_for_any_block_and_threads() -> None:
    rng = np.random.default_rng(0)
    n_users, n_items, k = 300, 90, 10
    both = random_pairs(rng, n_users, n_items, 0.15)
    held_mask = rng.random(both.nnz) < 0.2
    users = both.users()
    seen = CSR.from_pairs(users[~held_mask], both.indices[~held_mask], n_users, n_items)
    held = CSR.from_pairs(users[held_mask], both.indices[held_mask], n_users, n_items)
    model = LFM(n_users, n_items, 16, rng=rng, init_std=0.5)
    names = ["map@10", "recall@10", "ndcg@10", "coverage@3"]
    first = evaluate(model, seen, held, names)
    slow = slow_evaluate(model.score_users(np.arange(n_users)), seen, held, k)
    assert first.users.tolist() == np.flatnonzero(held.degrees()).tolist()
    for kind, expected in slow.items():
        np.testing.assert_allclose(first.per_user[f"{kind}@10"], expected, rtol=1e-12)
        assert first.values[f"{kind}@10"] == pytest.approx(np.mean(expected))
    assert "coverage@3" not in first.per_user
    assert 0 < first.values["coverage@3"] <= 1
    for block, threads in ((1, 1), (7, 3), (128, 2), (10_000, 2)):
        other = evaluate(model, seen, held, names, block=block, threads=threads)
        assert other.values == first.values
        for name, values in first.per_user.items():
            assert_array_equal(other.per_user[name], values)


def test_the_thread_count_of_torch_is_given_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        seen = CSR.from_pairs(np.array([0]), np.array([0]), 1, 3)
        held = CSR.from_pairs(np.array([0]), np.array([1]), 1, 3)
        evaluate(Table(np.zeros((1, 3), np.float32)), seen, held, ["map@1"])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_the_device_path_selects_the_same(k: int) -> None:
    rng = np.random.default_rng(2)
    seen = random_pairs(rng, 50, 30, 0.4)
    model = LFM(50, 30, 2, rng=rng)
    with torch.no_grad():  # many ties, and both zeros
        model.user_factors.copy_(model.user_factors.sign())
        model.item_factors.copy_(model.item_factors.sign())
    users = np.arange(50, dtype=np.int32)
    assert_array_equal(device_top(model, seen, users, k), top_items(model, seen, users, k))


def test_nan_is_named_not_ranked() -> None:
    scores = np.zeros((3, 200), np.float32)
    scores[2, 150] = np.nan
    seen = CSR.from_pairs(np.array([2]), np.array([0]), 3, 200)
    held = CSR.from_pairs(np.array([0, 2]), np.array([1, 1]), 3, 200)
    for threads in (1, 2):
        with pytest.raises(FloatingPointError, match="user 2 and item 150 is NaN"):
            evaluate(Table(scores), seen, held, ["map@5"], threads=threads)
    model = LFM(3, 200, 2, rng=np.random.default_rng(0))
    with torch.no_grad():
        model.item_factors[4, 1] = np.nan
    with pytest.raises(FloatingPointError):
        evaluate(model, seen, held, ["map@5"])
    with pytest.raises(FloatingPointError):
        device_top(model, seen, np.arange(3, dtype=np.int32), 5)


def test_users_mistakes() -> None:
    seen = CSR.from_pairs(np.array([0]), np.array([0]), 2, 3)
    nobody = CSR.from_pairs(np.array([], int), np.array([], int), 2, 3)
    scorer = Table(np.zeros((2, 3), np.float32))
    with pytest.raises(InputError, match="no user has a held-out item"):
        evaluate(scorer, seen, nobody, ["map@1"])
    with pytest.raises(ConfigError, match="only 3 items"):
        evaluate(scorer, seen, seen, ["map@4"])


def test_only_one_compiled_version_exists() -> None:
    """Read-only and writable arrays must not each compile their own."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(3, 9)).astype(np.float32)
    locked = table.copy()
    locked.setflags(write=False)
    seen = random_pairs(rng, 3, 9, 0.2)
    assert_array_equal(
        top_items(Table(table), seen, [0, 1], 4), top_items(Table(locked), seen, [0, 1], 4)
    )
    assert len(best_unseen.signatures) == 1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), first=st.integers(1, 6), threads=st.integers(1, 2))
def test_which_held_out_pairs_are_in_the_lists(seed: int, first: int, threads: int) -> None:
    """Against the definition, pair by pair; deeper metrics beside the first change nothing."""
    rng = np.random.default_rng(seed)
    users, items = np.nonzero(rng.random((7, 9)) < 0.5)
    in_seen = rng.random(len(users)) < 0.6
    seen = CSR.from_pairs(users[in_seen], items[in_seen], 7, 9)
    held = CSR.from_pairs(users[~in_seen], items[~in_seen], 7, 9)
    scores = rng.integers(0, 4, (7, 9)).astype(np.float32)
    try:
        found = evaluate(
            Table(scores), seen, held, [f"recall@{first}", "map@9"], threads=threads, pairs=True
        )
    except InputError:
        return  # nobody to evaluate
    lists = slow_top(scores, seen, found.users, first)
    of_user = dict(zip(found.users.tolist(), lists.tolist(), strict=True))
    pairs = zip(held.users().tolist(), held.indices.tolist(), strict=True)
    assert found.found is not None
    assert found.found.tolist() == [item in of_user.get(user, []) for user, item in pairs]
    hits = [found.found[held.indptr[user] : held.indptr[user + 1]].mean() for user in found.users]
    assert found.per_user[f"recall@{first}"] == pytest.approx(hits)
    assert evaluate(Table(scores), seen, held, ["map@9"]).found is None
