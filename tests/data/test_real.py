"""Real files that may lie beside the checkout; skipped where they do not."""

from pathlib import Path

import pytest

from recsys.data import describe, load
from recsys.split import SplitPlan, make_split

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def find(name: str) -> str:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not beside this checkout")
    return str(path)


@pytest.mark.parametrize(
    ("name", "users", "items", "pairs"),
    [
        ("online_retail_690.csv.gz", 690, 2260, 59169),
        ("online_retail_core10.csv.gz", 3691, 2779, 259294),
    ],
)
def test_online_retail(name, users, items, pairs):
    facts = describe(load(find(name)))
    assert (facts["users"], facts["items"], facts["positives"]) == (users, items, pairs)
    assert facts["ordered"]


@pytest.mark.parametrize(
    ("name", "users", "items", "train", "test"),
    [
        ("health.zip", 1974, 1200, 37784, 10405),
        ("gowalla.zip", 29858, 40988, 810128, 217336),
    ],
)
def test_ready_splits(name, users, items, train, test):
    data = load(find(name))
    facts = describe(data)
    assert (facts["users"], facts["items"], facts["positives"]) == (users, items, train)
    assert facts["ready_test"] == test
    split = make_split(data, SplitPlan(), 42)
    assert split.train.nnz + split.valid.nnz == train
    assert split.test.nnz == test
