"""`all` beside single spaces: what is compared, and the verdict."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.equal_minutes import Data, Ended, against, table
from benchmarks.searches import SearchFailedError, search


def ended(users: list[int], values: list[float], *, blend: bool = False) -> Ended:
    return Ended(np.array(users, np.int32), np.array(values), 0.25, 12, blend, 60.0)


def seeds(level: float, count: int = 3, users: int = 40) -> list[Ended]:
    """A space at a level: each seed holds out other users, whose values vary alike in any space."""
    rng = np.random.default_rng(1)
    found = []
    for seed in range(count):
        held = np.flatnonzero(rng.random(users) < 0.8)
        found.append(ended(held.tolist(), (level + 0.1 * np.cos(held + seed)).tolist()))
    return found


def test_data_and_its_settings() -> None:
    assert Data.of("a/health.zip,metric=ndcg@20,split.order=latest") == Data(
        "a/health.zip", ("metric=ndcg@20", "split.order=latest")
    )
    assert Data.of("a/health.zip").name == "health"
    with pytest.raises(ValueError, match=r"expected KEY=VALUE after a comma, got 'ndcg@20'"):
        Data.of("health.zip,ndcg@20")


def test_users_are_paired_within_a_seed() -> None:
    ours = [ended([0, 2, 5], [0.4, 0.3, 0.2]), ended([1, 2, 5], [0.1, 0.2, 0.6])]
    theirs = [ended([0, 2, 5], [0.1, 0.3, 0.5]), ended([1, 2, 5], [0.1, 0.1, 0.1])]
    told = against(ours, theirs)
    assert told.gain == pytest.approx((0.0 + 0.2) / 2)  # the mean of the two seeds' gains
    assert (told.users, told.replicates) == (4, 2)
    with pytest.raises(SearchFailedError, match="tested on different users"):
        against(ours, [theirs[0], ended([1, 2, 4], [0.1, 0.1, 0.1])])


@pytest.mark.parametrize(
    ("best", "words"),
    [
        (0.45, "all is 11.1% above the best single space, bce (target: at most 0.5% below): met"),
        (0.501, "all is 0.2% below the best single space, bce (target: at most 0.5% below): met"),
        (0.51, "all is 2.0% below the best single space, bce (target: at most 0.5% below): missed"),
    ],
)
def test_the_verdict_is_against_the_best_single_space(best: float, words: str) -> None:
    flat = {
        "all": [ended([0, 1], [0.5, 0.5], blend=True)],
        "bce": [ended([0, 1], [best, best])],
        "cosine": [ended([0, 1], [0.3, 0.3])],
    }
    lines = table("health", flat)
    assert words in [line.strip() for line in lines]
    assert "0.5000* mean 0.5000, single trials 0.2500; 12 trials, 60 s" in lines[1]


def test_a_space_that_is_better_for_every_user_is_told_so() -> None:
    lines = table("health", {"all": seeds(0.5), "bce": seeds(0.45), "cosine": seeds(0.5)})
    assert "all +0.0500 (+0.04" in lines[2]
    assert lines[2].endswith("p = 0.0002")
    assert "p = 1" in lines[3]  # level with it


def test_a_search_that_fails_says_what_it_said(tmp_path) -> None:
    with pytest.raises(SearchFailedError, match=r"(?s)one: exit 2: .*none such"):
        search(tmp_path, "one", ["--space", "none such"])
