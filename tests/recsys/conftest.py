import numpy as np
import pytest

from recsys.interactions import CSR


def planted_pairs(
    n_users: int, n_items: int, groups: int, per_user: int, rng: np.random.Generator
) -> CSR:
    """Users of a group like the items of their group only: any method must find them."""
    users, items = [], []
    size = n_items // groups
    for user in range(n_users):
        own = (user % groups) * size + rng.permutation(size)[:per_user]
        users += [user] * per_user
        items += own.tolist()
    return CSR.from_pairs(np.array(users), np.array(items), n_users, n_items)


@pytest.fixture(scope="session")
def planted() -> tuple[CSR, CSR]:
    """(train, valid): 60 users x 120 items in 4 groups; 12 + 4 of a group's 30 items a user."""
    rng = np.random.default_rng(5)
    everything = planted_pairs(60, 120, 4, 16, rng)
    held = np.zeros(everything.nnz, bool)
    for user in range(60):
        low, high = everything.indptr[user], everything.indptr[user + 1]
        held[low + rng.permutation(high - low)[:4]] = True
    users = everything.users()
    return (
        CSR.from_pairs(users[~held], everything.indices[~held], 60, 120),
        CSR.from_pairs(users[held], everything.indices[held], 60, 120),
    )
