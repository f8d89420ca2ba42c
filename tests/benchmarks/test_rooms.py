"""The house in figures, on one that is counted by hand."""

from __future__ import annotations

from pathlib import Path

from benchmarks.rooms import ROOT, count

FILES = {
    "search/__init__.py": "",
    "search/run.py": "import numpy\nfrom search.tune import tuner\nfrom recsys import errors\n",
    "search/tune/__init__.py": '"""A room."""\n',
    "search/tune/tuner.py": "from . import worker\nfrom .worker import train, Trial\n",
    "search/tune/worker.py": "def train():\n    import search.tune.judge\n    from .. import run\n",
    "search/tune/judge.py": "from search.tune.worker import train\n",
    "recsys/__init__.py": "",
    "recsys/errors.py": "from __future__ import annotations\n",
    "tests/test_run.py": "import search.run\n",
}


def test_a_house_is_counted(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    house = count(tmp_path)
    assert (house.files, house.folders, house.lines) == (8, 3, 11)
    assert house.imports == {
        ("search.run", "search.tune.tuner"),
        ("search.run", "recsys.errors"),
        ("search.tune.tuner", "search.tune.worker"),
        ("search.tune.worker", "search.tune.judge"),
        ("search.tune.worker", "search.run"),
        ("search.tune.judge", "search.tune.worker"),
    }
    assert house.doors == {
        ("search", "search/tune"),
        ("search", "recsys"),
        ("search/tune", "search"),
    }
    assert house.circles == [
        ["search.run", "search.tune.judge", "search.tune.tuner", "search.tune.worker"]
    ]


def test_this_house_has_no_circles() -> None:
    assert not count(ROOT).circles
