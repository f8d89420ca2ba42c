"""What the tests of stages begin with: a run on the demo data whose search is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.data import Dataset, load
from recsys.split import Split, make_split
from search.space.load import load_spec
from tests.search.stages.searched import Run


@pytest.fixture(scope="session")
def data() -> tuple[Dataset, Split]:
    dataset = load("demo")
    return dataset, make_split(dataset, load_spec("smoke").split, 42)


@pytest.fixture
def run(tmp_path: Path, data: tuple[Dataset, Split]) -> Run:
    return Run(tmp_path, *data)
