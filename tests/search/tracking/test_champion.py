"""The winner in MLflow's registry: loadable without pickled code, and the right one is champion."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from recsys.data import SETS
from recsys.evaluation import top_items
from recsys.interactions import CSR, Interactions
from recsys.models import MODELS, config_from_flat, config_of, fit_model, model_of
from recsys.models.catalogue import save_catalogue
from recsys.models.popularity import Popularity, PopularityConfig
from recsys.models.saved import save_model
from search.record.handed import model_digest
from search.record.result import Comparison, RefitOf, Refitted
from search.tracking import wanted
from search.tracking.champion import _described
from search.tracking.pyfunc import ServedRecommender
from search.tracking.store import import_mlflow
from search.tracking.verify import make_champion, verify_delivery
from tests.factories import BLENDED, SETTINGS, FakeRun, fake_run, save_tiny_model
from tests.search.tracking.tracking_help import deliver, query, sqlite_store

README = Path(__file__).resolve().parents[3] / "README.md"


def registered(uri: str) -> list[tuple[Any, ...]]:
    return query(uri, "select name, version from model_versions order by version")


def champion(uri: str) -> list[tuple[Any, ...]]:
    return query(uri, "select alias, version from registered_model_aliases order by alias")


def finished(runs: Path, name: str, **options: Any) -> FakeRun:
    run = FakeRun(runs, name, **options)
    run.trial()
    run.finish(model=True)
    run.close()
    return run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, FakeRun]:
    folder = tmp_path_factory.mktemp("champion")
    uri = sqlite_store(folder / "store")
    run = finished(folder / "runs", "a")
    assert deliver(run, uri)
    return uri, run


def load(uri: str) -> Any:
    mlflow = import_mlflow(uri)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.pyfunc.load_model("models:/recsearch-ml-100k@champion")


def test_the_champion_recommends(store: tuple[str, FakeRun]) -> None:
    uri, run = store
    assert verify_delivery(run.path, uri) == []
    model = load(uri)
    found = model.predict(pd.DataFrame({"user_id": [20, 10, 999, 30]}), params={"k": 3})
    assert found["user_id"].tolist() == [20, 10, 999, 30]
    # scores of user 20: 1 2 3 4, item 400 seen; of user 10: 4 3 2 1, item 100 seen
    assert found["item_ids"].tolist() == [
        *([300, 200, 100], [200, 300, 400]),
        [100, 400, 200],  # nobody knows 999: items 100 and 400 have a user each
        [100, 400, 200],  # and 30 has nothing, so of him no more is known
    ]
    assert found["source"].tolist() == ["model", "model", "popular", "popular"]
    assert found["scores"].tolist()[:3] == [[3, 2, 1], [3, 2, 1], [1, 1, 0]]
    everything = model.predict(pd.DataFrame({"user_id": [20]}))
    assert everything["item_ids"].tolist() == [[300, 200, 100]]
    assert model.metadata.signature.inputs.input_names() == ["user_id", "items", "similar_to"]
    example = model.predict(model.input_example)
    assert example["source"].tolist() == ["model", "items", "similar"]
    with pytest.raises(Exception, match="user_id"):
        model.predict(pd.DataFrame({"item": [1]}))


def test_a_version_is_described_by_what_was_handed_over(tmp_path: Path) -> None:
    alone = fake_run(tmp_path, "alone", trials=8)
    blended = fake_run(tmp_path, "blended", trials=8, result_changes=BLENDED)
    of_winner = "0.1702 (95% interval 0.1611 to 0.1795, 940 users)"
    assert f"\n\ntest map@50: {of_winner}\n\nlatent_factors=" in _described(alone, "it leads")
    assert _described(blended, "it leads").split("\n\n") == [
        "Run blended, ml-100k",
        "test map@50 of a blend of 3: 0.1763 (95% interval 0.1672 to 0.1854, 940 users); the "
        f"winner alone {of_winner}",
        "0.50 of t0001 + 0.30 of t0002 + 0.20 of t0004",
        "When it was registered, it leads",
    ]


def test_no_pickle_is_in_the_model(store: tuple[str, FakeRun]) -> None:
    uri, _ = store
    root = Path(uri.removeprefix("sqlite:///")).parent / "artifacts"
    names = {path.name for path in root.rglob("*") if "model" in path.parts and path.is_file()}
    assert {"MLmodel", "pyfunc.py", "weights.pt", "ids.json", "seen.npz"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".cloudpickle"))]


def test_delivered_again_it_is_registered_once(store: tuple[str, FakeRun]) -> None:
    uri, run = store
    (run.path / "delivery.json").unlink()
    assert deliver(run, uri)
    assert registered(uri) == [("recsearch-ml-100k", 1)]
    assert verify_delivery(run.path, uri) == []


def test_an_old_run_synced_late_and_a_leaky_one_do_not_become_champion(tmp_path: Path) -> None:
    uri = sqlite_store(tmp_path / "store")
    old = finished(tmp_path / "runs", "old")
    new = finished(tmp_path / "runs", "new", seed=1)
    assert deliver(new, uri)
    assert champion(uri) == [("champion", 1)]
    assert deliver(old, uri)
    assert champion(uri) == [("champion", 1)]
    leaky = finished(tmp_path / "runs", "leaky", seed=2, leaky=True)
    assert deliver(leaky, uri)
    assert champion(uri) == [("champion", 1)]
    newest = finished(tmp_path / "runs", "newest", seed=3)  # no values: nothing to compare by
    assert deliver(newest, uri)
    assert champion(uri) == [("champion", 1)]
    make_champion(newest.path, uri)
    assert champion(uri) == [("champion", 4), ("previous", 1)]
    (newest.path / "delivery.json").unlink()  # delivered again, it does not succeed itself
    assert deliver(newest, uri)
    assert champion(uri) == [("champion", 4), ("previous", 1)]
    assert [version for _, version in registered(uri)] == [1, 2, 3, 4]
    for run in (old, new, leaky, newest):
        assert verify_delivery(run.path, uri) == []


def again(runs: Path, name: str, of: FakeRun, gain: float) -> FakeRun:
    """The winner of a run, trained again, with what the paired test said."""
    known = Comparison(against="a", gain=gain, ci=(gain, gain), p=0.01, proven=True)
    model = wanted.model_name(of.folder.state())
    run = FakeRun(runs, name, seed=int(1e6 * abs(gain)) + 1)
    run.session()
    run.trial()
    uid = of.folder.state().uid
    origin = RefitOf(run="a", uid=uid, model=model, comparison=known, before=0.5)
    run.stage("refit", Refitted(of=origin))
    run.finish(model=True)
    weights = next((run.path / "model").glob("weights.*"))
    weights.write_bytes(weights.read_bytes() + name.encode())  # of no other run
    run.close()
    return run


def test_a_model_trained_again_leads_only_if_it_is_no_worse_than_the_champion(
    tmp_path: Path,
) -> None:
    uri, runs = sqlite_store(tmp_path / "store"), tmp_path / "runs"
    first = finished(runs, "a")
    equal = again(runs, "equal", first, -0.001)
    late = again(runs, "late", first, 0.1)  # compared with one that is no longer champion
    steps = [
        (first, [("champion", 1)]),
        (again(runs, "worse", first, -0.1), [("champion", 1)]),
        (equal, [("champion", 3), ("previous", 1)]),
        (late, [("champion", 3), ("previous", 1)]),
        (again(runs, "next", equal, 0.2), [("champion", 5), ("previous", 3)]),
    ]
    for run, expected in steps:
        assert deliver(run, uri)
        assert champion(uri) == expected
        assert verify_delivery(run.path, uri) == []
    assert {name for name, _ in registered(uri)} == {"recsearch-ml-100k"}


def test_ids_that_are_words(tmp_path: Path) -> None:
    uri = sqlite_store(tmp_path / "store")
    run = FakeRun(tmp_path / "runs", "a")
    run.trial()
    save_tiny_model(run.path / "model", string_ids=True)
    run.finish()
    run.close()
    assert deliver(run, uri)
    found = load(uri).predict(pd.DataFrame({"user_id": ["bob"]}), params={"k": 2})
    assert found["item_ids"].tolist() == [["<i>", "é"]]


def test_the_model_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stands there asks the champion of a search that lies where it says, by its name."""
    uri = sqlite_store(tmp_path / "mlflow" / "store")
    run = FakeRun(tmp_path / "runs", "a")
    data = f"ml-100k (rating >= {SETS['ml-100k'].min_rating:g})"
    run.began(settings=asdict(SETTINGS), dataset=data)
    run.trial()
    rng = np.random.default_rng(0)
    seen = CSR.from_pairs(np.array([0, 1, 1, 2]), np.array([3, 0, 1, 2]), 3, 200)
    config = config_from_flat({"lr": 0.1, "epochs": 1, "latent_factors": 2})
    save_model(run.path / "model", fit_model(config, seen, rng=rng).to_bytes(), config)
    users, items = np.array([196, 7, 8]), np.arange(200)
    there = Interactions(seen, np.zeros(seen.nnz), users, items, ordered=False)
    save_catalogue(run.path / "model", there, seen)
    run.finish()
    run.close()
    assert deliver(run, uri)
    mlflow = import_mlflow(uri)
    mlflow.set_registry_uri(uri)  # as in a new process; `load` has named another one
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if "mlflow" in block)
    pages = README.read_text() + (README.parent / "mlflow" / "README.md").read_text()
    assert len(set(re.findall(r"models:/.+@champion", pages))) == 1
    given: dict[str, Any] = {}
    try:
        with pd.option_context("display.width", 1000, "display.max_columns", None):
            exec(compile(code, README, "exec"), given)
    finally:
        mlflow.set_tracking_uri(uri)  # whatever the working directory is
    printed = capsys.readouterr().out
    found = given["model"].predict(pd.DataFrame(given["asked"]), params={"k": 10})
    assert found["source"].tolist() == ["model", "items", "popular", "similar"]
    assert all(source in printed for source in [*found["source"], *found.columns])


@pytest.mark.parametrize("name", list(MODELS))
def test_every_model_recommends_what_the_submission_says(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seen = CSR.from_pairs(rng.integers(0, 1500, 9000), rng.integers(0, 60, 9000), 1500, 60)
    users, items = np.arange(1500) + 5, np.arange(60) * 3
    config = config_of(name).from_flat({"lr": 0.1} if name == "lfm" else {})
    model = model_of(config).create(config, 1500, 60, rng=rng)
    for _ in model.train(config.for_epochs(1), seen, None, rng=rng):
        pass
    save_model(tmp_path / "model", model.to_bytes(), config)
    save_catalogue(
        tmp_path / "model",
        Interactions(seen, np.zeros(seen.nnz), users, items, ordered=False),
        seen,
    )
    recommender = ServedRecommender()
    context = SimpleNamespace(artifacts={"model": str(tmp_path / "model")})
    recommender.load_context(context)  # type: ignore[arg-type]
    asked = np.concatenate([[3], users, [users[7]]])  # a stranger, everybody, one of them twice
    found = recommender.predict(context, pd.DataFrame({"user_id": asked}), {"k": 58})  # type: ignore[arg-type]
    best = top_items(model, seen, np.arange(1500), 58)
    expected = [[int(items[i]) for i in row if i >= 0] for row in best]
    counts = seen.item_counts()
    popular = [int(items[i]) for i in np.argsort(-counts, kind="stable")[:58]]
    assert found["item_ids"].tolist() == [popular, *expected, expected[7]]
    known = ["model" if degree else "popular" for degree in seen.degrees()]
    assert found["source"][1:].tolist() == [*known, known[7]]
    assert set(known) == {"model", "popular"}
    assert len({len(row) for row in expected}) > 1  # some users have fewer than 58 items left


def test_a_model_that_is_no_factorization_is_registered_and_loads(tmp_path: Path) -> None:
    """Loaded by a process that has no other `recsys`: the code travels with the model."""
    uri = sqlite_store(tmp_path / "store")
    run = FakeRun(tmp_path / "runs", "a")
    run.trial()
    save_tiny_model(run.path / "model")
    seen = CSR.from_pairs(np.array([0, 1]), np.array([0, 3]), 3, 4)
    save_model(run.path / "model", Popularity(seen).to_bytes(), PopularityConfig())
    assert not (run.path / "model" / "weights.pt").exists()
    run.finish()
    run.close()
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []
    assert registered(uri) == [("recsearch-ml-100k", 1)]
    script = f"""
import mlflow, pandas
mlflow.set_tracking_uri({uri!r})
model = mlflow.pyfunc.load_model("models:/recsearch-ml-100k@champion")
found = model.predict(pandas.DataFrame({{"user_id": [20, 30]}}), params={{"k": 2}})
print(found["item_ids"].tolist())
import recsys; print(recsys.__file__)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lists, code = done.stdout.splitlines()[-2:]
    assert lists == "[[100, 200], [100, 400]]"
    assert str(tmp_path) in code


def test_without_a_whole_model_nothing_is_registered(tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    assert model_digest(tmp_path) is not None
    (tmp_path / "weights.npz").write_bytes(b"")  # two weights: of which model?
    assert model_digest(tmp_path) is None
    (tmp_path / "weights.npz").unlink()
    (tmp_path / "ids.json").unlink()
    assert model_digest(tmp_path) is None


# --- what a request may say ----------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["numbers", "words"])
def recommender(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[ServedRecommender, list[Any]]:
    save_tiny_model(tmp_path / "model", string_ids=request.param)
    made = ServedRecommender()
    made.load_context(SimpleNamespace(artifacts={"model": str(tmp_path / "model")}))  # type: ignore[arg-type]
    items = ["a b", "é", "<i>", "z"] if request.param else [100, 200, 300, 400]
    return made, items


def ask(made: ServedRecommender, rows: list[dict[str, Any]], **params: Any) -> pd.DataFrame:
    return made.predict(None, pd.DataFrame(rows), params)  # type: ignore[arg-type]


def test_rows_of_all_kinds_in_one_request(recommender: tuple[ServedRecommender, list[Any]]) -> None:
    made, (a, b, c, d) = recommender
    user = list(made.user_index)[1]
    found = ask(
        made,
        [
            {"user_id": user},
            {"items": [a]},
            {"user_id": "nobody", "items": [d, "new", d]},
            {"items": ["new"]},
            {"similar_to": a},
            {"similar_to": "new"},
            {"user_id": user, "items": [a]},
            {"user_id": float("nan"), "items": None},
        ],
        k=4,
    )
    assert found["source"].tolist() == [
        *("model", "items", "items", "popular", "similar", "unknown", "items", "popular")
    ]
    assert found["unknown_items"].tolist() == [
        *([], [], ["new"], ["new"], [], ["new"], [], []),
    ]
    lists = found["item_ids"].tolist()
    assert lists[0] == [c, b, a]
    assert lists[1] == [b, c, d]  # who likes the first factor gets what has most of it
    assert lists[2] == [c, b, a]
    assert lists[3] == lists[7] == [a, d, b, c]
    assert lists[5] == []  # what is popular is not near it
    assert found["user_id"].tolist() == [user, None, "nobody", None, None, None, user, None]
    assert "unknown_exclude" not in found
    assert lists[4] == [b, c, d]
    assert sorted(map(str, lists[6])) == sorted(map(str, [b, c]))  # d is the user's history
    assert [len(row) for row in found["scores"]] == [len(row) for row in lists]


def test_what_may_be_recommended(recommender: tuple[ServedRecommender, list[Any]]) -> None:
    made, (a, b, c, d) = recommender
    user = list(made.user_index)[1]
    rows = [{"user_id": user}, {"items": [a]}, {"user_id": "nobody"}, {"similar_to": a}]

    def lists(**params: Any) -> list[list[Any]]:
        return list(ask(made, rows, **params)["item_ids"])

    assert lists(candidates=[c, a, "new"]) == [[c, a], [c], [a, c], [c]]
    assert lists(exclude=[c, "new"]) == [[b, a], [b, d], [a, d, b], [b, d]]
    assert lists(candidates=[a, c], exclude=[a]) == [[c], [c], [c], [c]]
    assert lists(candidates=["new"]) == lists(candidates=[]) == [[], [], [], []]
    every = lists()
    assert lists(candidates=[None], exclude=[None]) == lists(candidates=None) == every
    assert lists(exclude=[]) == every
    found = ask(made, rows, candidates=[a, "new", "new", "newer"], exclude=[])
    assert found["unknown_candidates"].tolist() == [2, 2, 2, 2]
    assert found["unknown_exclude"].tolist() == [0, 0, 0, 0]
    with_seen = lists(exclude_seen=False)
    assert with_seen[0] == [d, c, b, a]
    assert with_seen[1] == [a, b, c, d]


def test_numbers_may_be_floats_and_texts(tmp_path: Path) -> None:
    """As they are in a column with gaps, and in a query string."""
    save_tiny_model(tmp_path / "model")
    made = ServedRecommender()
    made.load_context(SimpleNamespace(artifacts={"model": str(tmp_path / "model")}))  # type: ignore[arg-type]
    found = ask(made, [{"user_id": 20.0}, {"user_id": "20"}, {"user_id": np.int64(20)}], k=1)
    assert found["item_ids"].tolist() == [[300]] * 3
    found = ask(made, [{"items": (100.0,)}, {"items": np.array([100])}, {"items": "100"}], k=1)
    assert found["item_ids"].tolist() == [[200]] * 3


def big_ids(tmp_path: Path) -> ServedRecommender:
    """A model of users and items with ids from 2^53 on, which a float cannot tell apart."""
    config = config_from_flat({"lr": 0.1, "epochs": 1, "latent_factors": 2})
    seen = CSR.from_pairs(np.array([0, 1, 2]), np.array([0, 1, 2]), 3, 4)
    model = fit_model(config, seen, rng=np.random.default_rng(0))
    save_model(tmp_path / "model", model.to_bytes(), config)
    ids = 2**53 + np.arange(3), 2**53 + np.arange(4)
    there = Interactions(seen, np.zeros(seen.nnz, np.int32), *ids, ordered=False)
    save_catalogue(tmp_path / "model", there, seen)
    made = ServedRecommender()
    made.load_context(SimpleNamespace(artifacts={"model": str(tmp_path / "model")}))  # type: ignore[arg-type]
    return made


def test_large_whole_numbers_stay_exact_where_pandas_kept_them(tmp_path: Path) -> None:
    made, big = big_ids(tmp_path), 2**53 + 1
    for user in (big, str(big), np.int64(big)):
        found = ask(made, [{"user_id": user}, {"user_id": 2**53}], k=3)
        assert found["item_ids"].map(set).tolist() == [
            {2**53, 2**53 + 2, 2**53 + 3},
            {2**53 + 1, 2**53 + 2, 2**53 + 3},
        ]
    mixed = ask(made, [{"user_id": str(big)}, {"items": [big]}, {"similar_to": str(big)}], k=4)
    assert mixed["source"].tolist() == ["model", "items", "similar"]
    assert all(big not in row for row in mixed["item_ids"])
    assert mixed["unknown_items"].tolist() == [[], [], []]


@pytest.mark.parametrize(
    ("rows", "params", "where"),
    [
        ([{"user_id": 2**53 + 1}, {"items": [1]}], {}, "row 0: user_id"),
        ([{"items": [1]}, {"user_id": -(2**53) - 1}], {}, "row 1: user_id"),
        ([{"items": [1]}, {"similar_to": 2**53 + 1}], {}, "row 1: similar_to"),
        ([{"user_id": 1}, {"items": 2**53 + 1}], {}, "row 1: items"),
        ([{"items": [1, float(2**53 + 1)]}], {}, "row 0: items"),
        ([{"items": np.array([2**53 + 1, 1.0])}], {}, "row 0: items"),
        ([{"user_id": 1}], {"candidates": [float(2**53 + 1)]}, "candidates"),
        ([{"user_id": 1}], {"exclude": np.array([1.0, 1e18])}, "exclude"),
    ],
)
def test_a_float_that_may_be_another_id_is_refused(
    rows: list[dict[str, Any]], params: dict[str, Any], where: str, tmp_path: Path
) -> None:
    """A row without a column leaves a gap in it, and pandas makes floats of the whole numbers."""
    made = big_ids(tmp_path)
    with pytest.raises(
        MlflowException, match=f"{where}: -?[0-9]+ is a float, .*2\\^53.* as a text"
    ):
        ask(made, rows, **params)


@pytest.mark.parametrize(("kind", "bits"), [(np.float16, 11), (np.float32, 24), (np.float64, 53)])
def test_a_column_of_floats_is_exact_to_its_own_width(
    kind: type[np.floating[Any]], bits: int, tmp_path: Path
) -> None:
    made = big_ids(tmp_path)
    below = pd.DataFrame({"user_id": np.array([2**bits - 1], kind)})
    assert made.predict(None, below)["source"].tolist() == ["popular"]  # type: ignore[arg-type]
    beyond = pd.DataFrame({"user_id": np.array([2**bits], kind)})
    with pytest.raises(MlflowException, match=rf"row 0: user_id: {2**bits} is a float"):
        made.predict(None, beyond)  # type: ignore[arg-type]


def test_a_request_without_a_column_of_ours_is_refused(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model")
    made = ServedRecommender()
    made.load_context(SimpleNamespace(artifacts={"model": str(tmp_path / "model")}))  # type: ignore[arg-type]
    with pytest.raises(MlflowException, match="column user_id, items or similar_to, got who"):
        ask(made, [{"who": 20}])


@pytest.mark.parametrize(
    ("row", "params", "words"),
    [
        ({"user_id": 20}, {"k": 0}, "k: expected a whole number from 1, got 0"),
        ({"user_id": 20}, {"k": -3}, "k: expected a whole number from 1, got -3"),
        ({"user_id": 20}, {"k": 2.5}, "k: expected a whole number from 1, got 2.5"),
        ({"user_id": 20}, {"k": None}, "k: expected a whole number from 1, got None"),
        ({"user_id": 20}, {"k": "ten"}, "k: expected a whole number from 1, got 'ten'"),
        ({"user_id": 20}, {"exclude": "100"}, "exclude: expected a list of ids, got '100'"),
        ({"user_id": 20}, {"candidates": [[1]]}, r"candidates: expected an id, got \[1\]"),
        ({"similar_to": 100, "user_id": 20}, {}, "row 1: has similar_to and user_id"),
        ({"similar_to": "new", "items": [100]}, {}, "row 1: has similar_to and items"),
        ({"similar_to": [100, 200]}, {}, r"row 1: similar_to: expected an id, got \[100, 200\]"),
        ({"items": [[100], 200]}, {}, r"row 1: items: expected an id, got \[100\]"),
        ({"user_id": {"id": 20}}, {}, "row 1: user_id: expected an id"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    row: dict[str, Any], params: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """As MLflow answers with status 400 and these words."""
    save_tiny_model(tmp_path / "model")
    made = ServedRecommender()
    made.load_context(SimpleNamespace(artifacts={"model": str(tmp_path / "model")}))  # type: ignore[arg-type]
    with pytest.raises(MlflowException, match=words) as caught:
        ask(made, [{"items": [100]}, row], **params)
    assert caught.value.get_http_status_code() == 400


def test_nothing_in_stock_is_nothing_recommended(store: tuple[str, FakeRun]) -> None:
    """Through the signature, whose defaults stand in for what is not given."""
    model = load(store[0])
    asked = pd.DataFrame({"user_id": [20, 10]})
    assert model.predict(asked, params={"candidates": []})["item_ids"].tolist() == [[], []]
    whole = model.predict(asked)["item_ids"].tolist()
    assert all(whole)
    assert model.predict(asked, params={"exclude": []})["item_ids"].tolist() == whole
    with pytest.raises(MlflowException, match="k: expected a whole number from 1, got 0"):
        model.predict(asked, params={"k": 0})
    with pytest.raises(MlflowException, match=r"'k'.* for value `2\.5`"):
        model.predict(asked, params={"k": 2.5})
