"""A model that is one file and one line goes all the way: raced, tested, exported, served."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recsys.data import load
from recsys.models.saved import load_model
from recsys.split import SplitPlan, make_split
from search.cli.main import main
from search.record.events import SessionEnded, State, Status, TrialEnded, TrialMade
from search.record.state import RunState
from search.space import domains
from search.space.load import load_spec
from search.stages.result import told
from search.summary import result_rows
from search.tracking.pyfunc import ServedRecommender
from search.words import LEAK
from tests.factories import SETTINGS
from tests.recsys.test_models import Newest, NewestConfig, newest  # noqa: F401
from tests.search.stages.searched import Run

SPACE = """
metric: ndcg@10
trials: 2
k: 10
race: {finalists: 2, replicates: 2}
params:
  model: newest
  half_life: {low: 1, high: 9}
enqueue:
  - {half_life: 2}
  - {half_life: 5}
"""


@pytest.fixture
def searchable(newest: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """With the line that the fixture has added to MODELS, as a fresh process reads it."""
    fields, owners = domains._fields()
    for name, field in fields.items():
        monkeypatch.setitem(domains.FIELDS, name, field)  # type: ignore[index]
    for name, models in owners.items():
        monkeypatch.setitem(domains.OWNERS, name, models)


@pytest.mark.usefixtures("searchable")
def test_a_new_model_goes_all_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = load("demo")
    (tmp_path / "runs").mkdir()
    run = Run(tmp_path / "runs", dataset, make_split(dataset, SplitPlan(), 42), SPACE)
    run.folder.write("spec.yaml", run.spec.to_yaml())
    run.go("race", "test", "refit")
    run.journal.append(SessionEnded(status=Status.DONE))
    run.journal.close()
    assert {row["id"] for row in run.said("race")["finalists"]} == {"t0000", "t0001"}
    assert run.said("test")["values"]["ndcg@10"] > 0
    model = load_model(run.folder.path / "model")
    assert isinstance(model, Newest)

    users = [str(user) for user in dataset.interactions.user_ids[:2]]
    Path("users.csv").write_text("\n".join(["user_id", *users]) + "\n")
    assert main(["export", "one", "-o", "out.csv", "--users", "users.csv", "--k", "3"]) == 0
    exported = pd.read_csv("out.csv", dtype=str)
    assert exported["UserId"].tolist() == users

    served = ServedRecommender()
    folder = str(run.folder.path / "model")
    served.load_context(SimpleNamespace(artifacts={"model": folder}))  # type: ignore[arg-type]
    found = served.predict(None, pd.DataFrame({"user_id": users}), {"k": 3})  # type: ignore[arg-type]
    assert found["source"].tolist() == ["model", "model"]
    lists = [" ".join(map(str, items)) for items in found["item_ids"]]
    assert lists == exported["ItemId"].tolist()
    # and both are what the model says: the newest items that a user does not have
    everything = run.stages.split.full()
    unseen = np.setdiff1d(np.arange(everything.n_items), everything.row(0))[::-1][:3]
    assert lists[0] == " ".join(str(dataset.interactions.item_ids[item]) for item in unseen)


@pytest.mark.usefixtures("searchable")
@pytest.mark.parametrize("leaks", [{}, {"half_life": 3.0}], ids=["honest", "leaky"])
def test_a_leak_in_words_of_its_own_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaks: dict[str, float]
) -> None:
    monkeypatch.setattr(NewestConfig, "leaks", leaks)
    state = RunState()
    config = {"model": "newest", "half_life": 3.0}
    state.apply(TrialMade(id="t0000", number=0, params={}, config=config, seed=1), 0)
    state.apply(TrialEnded(id="t0000", state=State.COMPLETE, value=0.5), 0)
    found = told(state, "one", load_spec("smoke"), SETTINGS)
    assert (found.leaky, found.won_by_leak) == (bool(leaks), bool(leaks))
    warned = ("WARNING", LEAK) in result_rows(found, tmp_path)
    assert warned == bool(leaks)
