from itertools import permutations

import numpy as np
import pytest
import torch

from recsys.interactions import CSR
from recsys.models.mf.torch_sampling import TorchSampler, keep_others


def sampler(rows: list[list[int]], n_items: int, seed: int = 0) -> TorchSampler:
    users = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    items = np.array([i for r in rows for i in r], int)
    csr = CSR.from_pairs(users, items, len(rows), n_items)
    device = torch.device("cpu")
    return TorchSampler(csr, device, torch.Generator(device).manual_seed(seed))


@pytest.mark.parametrize(("n_items", "count"), [(7, 2), (4, 2), (30, 1)])
def test_every_ordered_choice_is_equally_likely(n_items: int, count: int) -> None:
    """Chi-square over all ordered choices, by rejection (7, 30 items) and by sorting (4)."""
    seen = [0, n_items - 2]
    draws = 40_000
    drawn = sampler([[], seen], n_items).draw(torch.ones(draws, dtype=torch.int64), count)
    free = [i for i in range(n_items) if i not in seen]
    cells = dict.fromkeys(permutations(free, count), 0)
    for line in drawn.tolist():
        cells[tuple(line)] += 1
    expected = draws / len(cells)
    chi2 = sum((c - expected) ** 2 / expected for c in cells.values())
    freedom = len(cells) - 1
    assert chi2 < freedom + 5 * (2 * freedom) ** 0.5


def test_many_draws_of_many_users_are_free_distinct_and_complete() -> None:
    rng = np.random.default_rng(1)
    n_items, count = 50, 12
    sizes = [0, 1, 10, 25, 26, 27, 38, 45, 49, 50]
    rows = [sorted(rng.permutation(n_items)[:s].tolist()) for s in sizes]
    users = torch.from_numpy(rng.integers(0, len(rows), 2000))
    each = torch.from_numpy(rng.integers(0, count + 1, 2000))
    drawn = sampler(rows, n_items).draw(users, count, each).numpy()
    assert drawn.shape == (2000, count)
    for user, asked, line in zip(users.tolist(), each.tolist(), drawn, strict=True):
        real = line[line >= 0].tolist()
        assert len(real) == min(asked, n_items - sizes[user])
        assert len(set(real)) == len(real)
        assert not set(real) & set(rows[user])
        assert all(i < n_items for i in real)


def test_more_asked_than_there_are_items() -> None:
    drawn = sampler([[1]], 3).draw(torch.tensor([0]), 10)
    assert sorted(drawn[0].tolist()) == [-1] * 8 + [0, 2]


def test_keep_others() -> None:
    extra = torch.tensor([[5, 1, 7, 2], [3, -1, -1, -1]])
    taken = torch.tensor([[1, 9], [3, -1]])
    assert keep_others(extra, taken, 2).tolist() == [[5, 7], [-1, -1]]
