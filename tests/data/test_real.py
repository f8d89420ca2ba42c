"""Real files, which are not in the repository: skipped where they are not at hand."""

import os
from pathlib import Path

import pytest

from recsys.data import describe, load
from recsys.split import SplitPlan, make_split

VARIABLE = "RECSEARCH_TEST_DATA"


def find(name: str) -> str:
    """In the folder that the variable names, or in `shared/data` beside the checkout or above."""
    given = os.environ.get(VARIABLE)
    above = Path(__file__).resolve().parents[2:]
    folders = [Path(given)] if given else [folder / "shared" / "data" for folder in above]
    for folder in folders:
        if (folder / name).exists():
            return str(folder / name)
    where = f"{folders[0]}, which {VARIABLE} names" if given else "shared/data beside this checkout"
    pytest.skip(f"{name} is not in {where}; set {VARIABLE} to the folder that has it")


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
