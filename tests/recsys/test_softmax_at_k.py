"""SL@K: the quantiles of both engines against plain ones, and the K that a search gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.interactions import CSR
from recsys.models import fit_model
from recsys.models.base import Size
from recsys.models.mf import numba_engine, torch_engine
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.entry import Factorization
from recsys.models.mf.model import LFM
from recsys.models.mf.numba_engine import NumbaEngine
from recsys.models.mf.torch_engine import TorchEngine
from search.space.load import load_spec
from tests.kernels.helpers import FIXED, HARD, make_config, make_model, random_csr, weights_of

AT_K: dict[str, Any] = {"loss": "softmax_at_k", "top_k": 6, "weight_temperature": 0.5, **FIXED}
ENGINES = ["numba", "torch"]


def quantiles(
    engine: str, model: LFM, train: CSR, config: TrainConfig, seed: int = 0, **keys: Any
) -> NDArray[np.float32]:
    """What an engine weighs the first epoch by, float32 (U,)."""
    rng = np.random.default_rng(seed)
    if engine == "numba":
        compiled = NumbaEngine(model, train, config, rng=rng, **keys)
        compiled._estimate_quantiles()
        return compiled.hyper.quantiles.copy()
    found = TorchEngine(model, train, config, rng=rng, **keys)._estimated_quantiles()
    assert found is not None
    return found.numpy()


def sample_of(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (numba_engine, torch_engine):
        monkeypatch.setattr(module, "QUANTILE_ITEMS", items)


@pytest.mark.parametrize("k", [1, 6, 37, 60, 90])
@pytest.mark.parametrize("score", ["dot", "cosine"])
@pytest.mark.parametrize("engine", ENGINES)
def test_with_all_items_drawn_a_quantile_is_the_kth_best_score(
    engine: str, score: str, k: int
) -> None:
    train = random_csr(30, 60, 12)
    model = make_model(train)
    found = quantiles(engine, model, train, make_config(**AT_K | {"top_k": k, "score": score}))
    ordered = np.sort(model.score_users(np.arange(30)), axis=1)[:, ::-1]
    # with more places than items, the worst one
    assert_allclose(found, ordered[:, min(k, 60) - 1], rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_items_that_are_no_negatives_do_not_count(engine: str) -> None:
    """Items held out under `negatives_exclude: all` are neither positives nor free."""
    train, held_out = random_csr(30, 60, 12), random_csr(30, 60, 6, seed=1)
    model = make_model(train)
    config = make_config(**AT_K, negatives_exclude="all")
    found = quantiles(engine, model, train, config, exclude=held_out)
    scores = model.score_users(np.arange(30))
    for user in range(30):
        counted = np.ones(60, bool)
        counted[np.setdiff1d(held_out.row(user), train.row(user))] = False
        assert found[user] == pytest.approx(np.sort(scores[user][counted])[-6], rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_user_with_every_item_is_ranked_by_its_own_items(engine: str) -> None:
    train = CSR(np.array([0, 9, 9, 11]), np.array([*range(9), 2, 5]), 9)
    model = make_model(train)
    found = quantiles(engine, model, train, make_config(**AT_K | {"top_k": 3}))
    ordered = np.sort(model.score_users(np.arange(3)), axis=1)
    assert_allclose(found[[0, 2]], ordered[[0, 2], -3], rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_drawn_item_stands_for_those_that_were_not(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 of about 388 free items are drawn, so a quantile may be off, but not on one side."""
    sample_of(40, monkeypatch)
    train = random_csr(200, 400, 12)
    model = make_model(train)
    config = make_config(**AT_K | {"top_k": 60})
    scores = model.score_users(np.arange(200))
    above = [
        (scores >= quantiles(engine, model, train, config, seed)[:, None]).sum(1).mean()
        for seed in range(3)
    ]
    # of the items at a quantile itself, all but the last come on top of the 60: 5 on average
    assert np.mean(above) == pytest.approx(65, rel=0.05)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_estimate_is_one_of_its_positives_and_drawn_items(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one item drawn of many, the others hardly count: all places are the positives'."""
    sample_of(1, monkeypatch)
    train = random_csr(50, 400, 20)
    model = make_model(train)
    found = quantiles(engine, model, train, make_config(**AT_K))
    scores = model.score_users(np.arange(50))
    for user in range(50):
        own = np.sort(scores[user][train.row(user)])[::-1]
        drawn = found[user] > own[5] + 1e-5  # it stands for hundreds, so it is the sixth at once
        assert drawn or found[user] == pytest.approx(own[5], rel=1e-5)
        assert not drawn or np.isclose(scores[user], found[user], rtol=1e-5).any()


def test_quantiles_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    sample_of(20, monkeypatch)
    train = random_csr(90, 400, 12)
    found = [
        quantiles("numba", make_model(train), train, make_config(**AT_K), threads=threads)
        for threads in (1, 2, 3)
    ]
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("engine", [NumbaEngine, TorchEngine])
def test_a_state_continues_with_the_same_draws(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_of(20, monkeypatch)
    train = random_csr(40, 200, 8)
    config = make_config(**AT_K, score="cosine", batch_size=4)
    models = [make_model(train) for _ in range(2)]
    whole, part = (engine(m, train, config, rng=np.random.default_rng(0)) for m in models)
    whole.epoch()
    part.restore(whole.state())
    assert whole.epoch() == part.epoch()
    for name, value in weights_of(models[0]).items():
        assert_array_equal(weights_of(models[1])[name], value)


@pytest.mark.parametrize("negatives", [FIXED, HARD], ids=["fixed", "hard"])
@pytest.mark.parametrize("engine", [NumbaEngine, TorchEngine])
def test_even_weights_are_softmax_with_half_the_gradient(
    engine: Any, negatives: dict[str, Any]
) -> None:
    """A wide weight_temperature gives each row 1/2, which Adagrad does not notice."""
    train = random_csr(20, 60, 5)
    some = {"batch_size": 8, "latent_factors": 5}
    flats = (
        {"loss": "softmax"},
        {"loss": "softmax_at_k", "top_k": 6, "weight_temperature": 100.0},
    )
    got = []
    for flat in flats:
        model = make_model(train)
        config = make_config(**flat, **negatives, **some)
        made = engine(model, train, config, rng=np.random.default_rng(0))
        rows = np.arange(train.nnz)
        others = np.array([np.setdiff1d(np.arange(60), train.row(u))[:3] for u in train.users()])
        loss = made.replay(rows, others)
        got.append((loss, weights_of(model)))
    assert got[1][0] == pytest.approx(got[0][0] / 2, rel=0.02)
    for name, value in got[0][1].items():
        assert_allclose(got[1][1][name], value, atol=0.01, err_msg=name)


@pytest.mark.parametrize("score", ["dot", "cosine"])
def test_a_model_is_saved_and_serves_people_by_their_lists(
    planted: tuple[CSR, CSR], score: str
) -> None:
    items, _ = planted
    config = make_config(**AT_K, score=score, latent_factors=8, lr=0.2, epochs=8)
    model = fit_model(config, items, rng=np.random.default_rng(0))
    everybody = np.arange(items.n_users)
    back = Factorization.from_bytes(model.to_bytes())
    assert_array_equal(back.score_users(everybody), model.score_users(everybody))
    scores = back.list_scorer(config, items)(items)
    assert scores.shape == (items.n_users, items.n_items) and np.isfinite(scores).all()


def test_its_cost_is_that_of_softmax_and_the_quantiles() -> None:
    size = Size(1000, 3000, 20_000)
    plain = Factorization.cost(make_config(loss="softmax", **FIXED), size)
    more = Factorization.cost(make_config(**AT_K), size)
    assert more.model == plain.model
    assert more.memory > plain.memory and more.work > plain.work


def test_k_must_be_said_where_no_search_says_it() -> None:
    flat = {name: value for name, value in AT_K.items() if name != "top_k"}
    with pytest.raises(ConfigError, match=r"top_k \(K\) is missing: loss softmax_at_k needs it"):
        make_config(**flat)
    with pytest.raises(ConfigError, match="top_k has no meaning with loss softmax"):
        make_config(loss="softmax", top_k=3)
    config = make_config(**AT_K, score="cosine")
    assert TrainConfig.from_flat(config.to_flat()) == config
    assert config.label() == "softmax_at_k-cosine-fixed d=5 n=3"
    assert "top_k" not in make_config(loss="softmax").to_flat()


SPACE = """
metric: ndcg@20
params:
  loss: {choice: [softmax, softmax_at_k]}
  neg_mode: even
  lr: {low: 0.1, high: 0.2}
"""


@pytest.mark.parametrize("given", [None, 7])
def test_the_k_of_a_search_is_that_of_its_metric(tmp_path: Any, given: int | None) -> None:
    own = "" if given is None else f"  top_k: {{value: {given}, when: {{loss: softmax_at_k}}}}\n"
    (tmp_path / "mine.yaml").write_text(SPACE + own)
    spec = load_spec(str(tmp_path / "mine.yaml"))
    flat = spec.train_config({"loss": "softmax_at_k", "lr": 0.1}).to_flat()
    assert flat["top_k"] == (20 if given is None else 7)
    assert "top_k" not in spec.train_config({"loss": "softmax", "lr": 0.1}).to_flat()
