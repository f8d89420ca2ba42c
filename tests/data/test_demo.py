import numpy as np
import pytest

from recsys.data import describe, describe_lines, load, planted
from recsys.data.demo import demo
from recsys.split import SplitPlan, make_split


def test_demo_is_the_same_for_the_same_seed():
    assert demo(3).digest() == demo(3).digest()
    assert demo(3).digest() != demo(4).digest()
    data = load("demo", seed=3).interactions
    assert data.digest() == demo(3).digest()
    assert (data.rank == demo(3).rank).all()
    assert (data.n_users, data.n_items, data.ordered) == (300, 200, True)


def test_ranks_are_a_history():
    data = planted(50, 40, 600, rng=np.random.default_rng(1), clusters=4)
    for user in range(50):
        own = data.rank[data.csr.indptr[user] : data.csr.indptr[user + 1]]
        assert sorted(own) == list(range(len(own)))
        assert 1 <= len(own) <= 20


@pytest.mark.parametrize("order", ["random", "latest"])
def test_factors_find_what_popularity_cannot(order):
    """Truncated SVD, a plain factor model, against popularity: recall at 10 on the test items."""
    data = load("demo")
    split = make_split(data, SplitPlan(order), 1)
    seen = split.search_data()
    dense = np.zeros((seen.n_users, seen.n_items))
    dense[seen.users(), seen.indices] = 1
    u, s, vt = np.linalg.svd(dense, full_matrices=False)
    factors = (u[:, :12] * s[:12]) @ vt[:12]
    popular = np.broadcast_to(seen.item_counts(), dense.shape).astype(float)

    def recall(scores: np.ndarray) -> float:
        ranked = np.argsort(np.where(dense > 0, -np.inf, scores), axis=1)[:, ::-1][:, :10]
        hits = [
            np.isin(split.test.row(n), ranked[n]).mean()
            for n in range(seen.n_users)
            if len(split.test.row(n))
        ]
        return float(np.mean(hits))

    assert recall(factors) > 1.5 * recall(popular)


def test_the_history_moves_from_one_taste_to_another():
    clusters, seed = 4, 2
    data = planted(400, 200, 12_000, rng=np.random.default_rng(seed), clusters=clusters, taste=1.0)
    # the clusters are the generator's first draw
    cluster_of = np.random.default_rng(seed).permutation(np.arange(200) % clusters)
    first, last, moved = [], [], 0
    for user in range(400):
        low, high = data.csr.indptr[user : user + 2]
        own = np.empty(high - low, np.int64)
        own[data.rank[low:high]] = cluster_of[data.csr.indices[low:high]]
        assert len(set(own)) <= 2
        tenth = max(1, len(own) // 10)
        early, late = own[:tenth], own[-tenth:]
        first.append(np.bincount(early).max() / tenth)
        last.append(np.bincount(late).max() / tenth)
        moved += early[0] != late[-1]
    assert np.mean(first) > 0.9
    assert np.mean(last) > 0.9
    assert 0.6 < moved / 400 < 0.85  # 3/4, less those who stay by chance


@pytest.mark.slow
def test_ten_million_pairs():
    data = planted(100_000, 100_000, 10_000_000, rng=np.random.default_rng(0))
    assert data.nnz > 9_500_000


def test_facts():
    facts = describe(load("demo"))
    data = load("demo").interactions
    assert facts["positives"] == data.nnz
    assert facts["density"] == pytest.approx(data.nnz / 60_000)
    counts = sorted(data.csr.degrees().tolist())
    assert facts["per_user"] == {
        "min": counts[0],
        "5%": counts[14],
        "median": counts[149],
        "95%": counts[284],
        "max": counts[-1],
    }
    lines = describe_lines(load("demo"))
    assert lines[0].startswith("demo: 300 users x 200 items, ")
    assert "order of time: known" in lines[3]
