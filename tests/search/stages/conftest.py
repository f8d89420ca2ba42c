"""What the tests of stages begin with: a run on the demo data whose search is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.data import Dataset, load
from recsys.split import Split, make_split
from search.space.load import load_spec
from search.space.spec import SearchSpec
from tests.search.stages.searched import Run


@pytest.fixture(scope="module")
def data() -> tuple[Dataset, SearchSpec, Split]:
    dataset = load("demo")
    spec = load_spec("smoke")
    return dataset, spec, make_split(dataset, spec.split, 42)


@pytest.fixture
def run(tmp_path: Path, data: tuple[Dataset, SearchSpec, Split]) -> Run:
    dataset, _, split = data
    return Run(tmp_path, dataset, split)
