"""A search that weighs repeated purchases: to its end, resumed, exported, and on newer data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from recsys.data import load
from recsys.models.catalogue import load_catalogue
from recsys.models.saved import load_config, load_model
from search.record.folder import RunFolder
from search.record.settings import settings_of
from search.record.state import RunState
from tests.cli.conftest import Cli

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("weights")]

SPACE = """
searcher: random
metric: ndcg@5
k: 5
trials: 4
split: {order: latest, test: {fixed: 2}, valid: {fixed: 2}}
race: {finalists: 2, replicates: 2}
params:
  model: {choice: [ials, ease, slim]}
  weight: {choice: [log, linear]}
"""


def receipts(days: int) -> str:
    """Customers who buy a few of their items again and again, one row each time."""
    rng = np.random.default_rng(5)
    rows = []
    for day in range(days):
        for user in range(40):
            liked = np.random.default_rng(user).permutation(30)
            item = liked[min(int(rng.exponential(2.0 + day / 6)), 29)]
            rows.append(f"u{user},{item},{np.datetime64('2024-01-01') + day}")
    return "user,item,date\n" + "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    home = Cli(tmp_path_factory.mktemp("receipts"))
    (home.home / "old.csv").write_text(receipts(50))
    (home.home / "new.csv").write_text(receipts(60))
    (home.home / "mine.yaml").write_text(SPACE)
    done = home.search("--space", "mine.yaml", "--data", "old.csv", "--run", "one")
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def state_of(folder: Path) -> RunState:
    return RunFolder(folder).state()


def test_the_winner_is_what_its_config_trains_on_everything(home: Cli) -> None:
    model = home.runs / "one" / "model"
    config, everything = load_config(model), load(home.home / "old.csv", values=True).interactions
    assert config.to_flat()["weight"] in ("log", "linear")
    seen = load_catalogue(model).seen
    assert seen.values is not None
    np.testing.assert_array_equal(seen.values, everything.csr.values)  # type: ignore[arg-type]
    assert seen.values.max() > 3
    assert load_model(model).score_users(np.arange(3)).shape == (3, seen.n_items)
    settings = settings_of(state_of(home.runs / "one"))
    assert settings.values_digest == everything.values_digest()


def test_a_run_that_lost_its_end_comes_to_the_same(home: Cli) -> None:
    """Without the lines after the second trial ended, `--resume` gives the same model."""
    whole, again = home.runs / "one", home.runs / "two"
    shutil.copytree(whole, again)
    lines = (again / "journal.jsonl").read_bytes().splitlines(keepends=True)
    ends = [n for n, line in enumerate(lines) if json.loads(line)["t"] == "end"]
    (again / "journal.jsonl").write_bytes(b"".join(lines[: ends[1] + 1]))
    shutil.rmtree(again / "model")
    done = home.search("--resume", "--run", "two")
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = (
        {name: (t.config, t.seed, t.value) for name, t in state_of(folder).trials.items()}
        for folder in (whole, again)
    )
    assert one == two
    assert (again / "submission.csv").read_bytes() == (whole / "submission.csv").read_bytes()
    weights = [next((folder / "model").glob("weights.*")) for folder in (whole, again)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_trial_is_exported(home: Cli) -> None:
    where = ("--runs-dir", str(home.runs), "-o", "trial.csv")
    done = home("export", "one", "--trial", "t0000", *where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (home.home / "trial.csv").exists()


def test_the_winner_is_trained_on_newer_data(home: Cli) -> None:
    done = home("refit", "one", "--data", "new.csv", "--runs-dir", str(home.runs), "--name", "new")
    assert done.returncode == 0, done.stdout + done.stderr
    newer = load(home.home / "new.csv", values=True).interactions
    seen = load_catalogue(home.runs / "new" / "model").seen
    np.testing.assert_array_equal(seen.values, newer.csr.values)  # type: ignore[arg-type]


def test_newer_data_without_values_are_refused(home: Cli) -> None:
    (home.home / "once.csv").write_text(
        "user,item,date\n"
        + "".join(f"u{u},{(u + k) % 30},2024-01-{k + 1:02d}\n" for u in range(40) for k in range(9))
    )
    where = ("--runs-dir", str(home.runs), "--name", "once")
    done = home("refit", "one", "--data", "once.csv", *where)
    assert done.returncode == 2
    assert "its weight needs values of pairs, and once.csv has no ratings" in done.stderr
    assert not (home.runs / "once").exists()
