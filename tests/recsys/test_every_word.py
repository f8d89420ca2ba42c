"""Every word that a config may say reaches an entry of its own, in both engines."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pydantic import BaseModel

from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.metrics import KINDS
from recsys.models import leaky
from recsys.models.base import Size
from recsys.models.mf import numba_engine
from recsys.models.mf.config import Adagrad, Bpr, Softmax, TrainConfig
from recsys.models.mf.entry import Factorization
from recsys.models.mf.kernels import plan, rows
from recsys.models.mf.losses import PAIR_LOSSES
from recsys.models.mf.model import LFM
from recsys.models.mf.numba_engine import NumbaEngine
from recsys.models.mf.torch_engine import TorchEngine
from recsys.models.mf.torch_optim import make_optimizer

WORDS = {name: field.words for name, field in TrainConfig.parameters().items() if field.words}

# One user who has item 0 of four, and whose negative is item 3; scores 2, 0, 0, 1.
TRAIN = CSR.from_pairs(np.array([0]), np.array([0]), 1, 4)
SCORES = (2.0, 0.0, 0.0, 1.0)

# The mean loss of that by hand: of the pair, of the positive's share, of the two labels.
LOSSES = {
    "bpr": math.log(1 + math.exp(-(2 - 1 - 0.5))),
    "softmax": math.log(1 + math.exp((1 - 2) / 0.25)),
    # of the two best scores, the lower is 1
    "softmax_at_k": math.log(1 + math.exp((1 - 2) / 0.25)) / (1 + math.exp(-(2 - 1) / 0.5)),
    "bce": (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2,
}
OWN: dict[str, dict[str, Any]] = {
    "bpr": {"margin": 0.5},
    "softmax": {"temperature": 0.25},
    "softmax_at_k": {"temperature": 0.25, "top_k": 2, "weight_temperature": 0.5},
    "bce": {},
}

# What the negatives of one positive are: the mode of the kernels, and how many.
NEGATIVES = {
    "even": ({}, plan.UNIFORM, 1),
    "fixed": ({"neg_sample_num": 2}, plan.UNIFORM, 2),
    "hard": (
        {
            "num_candidate_neg_samples": 3,
            "num_hard_neg_samples": 1,
            "num_random_neg_samples": 1,
        },
        plan.HARD,
        2,
    ),
}

EXCLUDED = {"train": False, "all": True}  # whether held-out items are no negatives either
REDRAWN = {"epoch": False, "once": True}  # whether uniform negatives stay

# A step with learning rate 1 from 0 against a gradient of -1/2, which both touch alike.
STEPS = {"sgd": 0.5, "adagrad": 1.0, "adam": 1.0}


def config_of(**flat: Any) -> TrainConfig:
    return TrainConfig.from_flat({"lr": 0.5, "latent_factors": 1, "batch_size": 1} | flat)


def test_no_word_is_forgotten_here() -> None:
    assert set(WORDS["loss"]) == LOSSES.keys() == OWN.keys()
    assert set(WORDS["neg_mode"]) == NEGATIVES.keys()
    assert set(WORDS["optimizer"]) == STEPS.keys()
    assert WORDS.keys() == {
        *("loss", "neg_mode", "optimizer", "adagrad_per", "redraw", "negatives_exclude", "score")
    }
    assert set(WORDS["redraw"]) == REDRAWN.keys()
    assert set(WORDS["negatives_exclude"]) == EXCLUDED.keys()
    for word, held_out in EXCLUDED.items():
        config = config_of(negatives_exclude=word)
        assert config.excludes_held_out == config.leaky == leaky(config.to_flat()) == held_out


@pytest.mark.parametrize("engine", [TorchEngine, NumbaEngine])
@pytest.mark.parametrize("word", LOSSES)
def test_a_loss_is_its_own(word: str, engine: Any) -> None:
    config = config_of(loss=word, **OWN[word], batch_size=2)
    model = LFM(1, 4, 1, rng=np.random.default_rng(0))
    views = model.views()
    views.user_factors[:], views.item_factors[:, 0] = 1.0, SCORES
    for bias in (views.user_bias, views.item_bias, views.global_bias):
        bias[:] = 0.0
    trained = engine(model, TRAIN, config, rng=np.random.default_rng(1))
    rows = np.arange(2 if word == "bce" else 1)
    assert trained.replay(rows, np.array([[3]])) == pytest.approx(LOSSES[word], rel=1e-5)


def test_losses_have_different_numbers_in_the_kernels() -> None:
    numbers = [plan.make_plan(config_of(loss=word, **OWN[word]), 4).loss for word in WORDS["loss"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("engine", [TorchEngine, NumbaEngine])
@pytest.mark.parametrize(("word", "gap"), [("dot", -2.0), ("cosine", 0.0)])
def test_a_score_is_its_own(word: str, gap: float, engine: Any) -> None:
    """A dot product tells items 0 and 3 apart by their length, a cosine does not."""
    model = LFM(1, 4, 1, rng=np.random.default_rng(0))
    views = model.views()
    views.user_factors[:], views.item_factors[:, 0] = 1.0, (3.0, 1.0, 1.0, 1.0)
    config = config_of(loss="softmax", score=word)
    trained = engine(model, TRAIN, config, rng=np.random.default_rng(1))
    expected = math.log(1 + math.exp(gap))
    assert trained.replay(np.array([0]), np.array([[3]])) == pytest.approx(expected, rel=1e-5)


def test_scores_have_different_numbers_in_the_kernels() -> None:
    assert set(WORDS["score"]) == plan.SCORES.keys()
    assert len(set(plan.SCORES.values())) == len(plan.SCORES)


@pytest.mark.parametrize("word", NEGATIVES)
def test_negatives_are_drawn_as_they_say(word: str) -> None:
    more, mode, count = NEGATIVES[word]
    made = plan.make_plan(config_of(neg_mode=word, **more), 9)
    assert (made.mode, plan.kept_negatives(made)) == (mode, count)


def test_optimizers_are_their_own_in_both_engines() -> None:
    model = LFM(1, 1, 1, rng=np.random.default_rng(0))
    tables = list(model.parameters())
    configs = [
        config_of(optimizer=word, **more)
        for word in WORDS["optimizer"]
        for more in (
            [{"adagrad_per": per} for per in WORDS["adagrad_per"]] if word == "adagrad" else [{}]
        )
    ]
    numbers = [plan.make_plan(config, 4).optimizer for config in configs]
    assert len(set(numbers)) == len(configs)
    kinds = [type(make_optimizer(tables, config.optimizer)).__name__ for config in configs]
    assert kinds == ["DenseAdam" if c.optimizer.kind == "adam" else "TouchedRows" for c in configs]


@pytest.mark.parametrize("engine", [TorchEngine, NumbaEngine])
@pytest.mark.parametrize("word", STEPS)
def test_a_step_is_that_of_its_optimizer(word: str, engine: Any) -> None:
    """The first step from equal scores: the loss of the pair has the gradient -1/2."""
    config = config_of(optimizer=word, lr=1.0)
    model = LFM(1, 4, 1, rng=np.random.default_rng(0))
    views = model.views()
    for weights in views:
        weights[:] = 0.0
    engine(model, TRAIN, config, rng=np.random.default_rng(1)).replay(
        np.array([0]), np.array([[3]])
    )
    assert_allclose(views.item_bias[[0, 3]], [STEPS[word], -STEPS[word]], rtol=1e-4)


def test_metrics_are_their_own() -> None:
    """Items 0 to 4 of 9 are shown in this order; 1, 2 and 8 are held out."""

    class Falling:
        def score_users(self, users: np.ndarray) -> np.ndarray:
            return -np.tile(np.arange(9, dtype=np.float32), (len(users), 1))

    seen = CSR.from_pairs(np.array([0]), np.array([7]), 1, 9)
    held = CSR.from_pairs(np.zeros(3, int), np.array([1, 2, 8]), 1, 9)
    found = evaluate(Falling(), seen, held, [f"{kind}@5" for kind in KINDS]).values
    top = 1 + 1 / math.log2(3) + 1 / 2
    assert found == pytest.approx(
        {
            "map@5": (1 / 2 + 2 / 3) / 3,
            "ndcg@5": (1 / math.log2(3) + 1 / 2) / top,
            "recall@5": 2 / 3,
            "precision@5": 2 / 5,
            "hit@5": 1.0,
            "coverage@5": 5 / 9,
        }
    )


@pytest.mark.parametrize("loss", ["bpr", "bce"])
def test_negatives_without_an_entry_are_no_others(loss: str) -> None:
    """A new word, before anybody has written what it does, trains in neither engine."""
    config = config_of(loss=loss).model_copy(update={"negatives": SimpleNamespace(mode="new")})
    with pytest.raises(TypeError, match="neg_mode new has no kernel"):
        plan.make_plan(config, 4)
    model = LFM(1, 4, 2, rng=np.random.default_rng(0))
    for engine in (NumbaEngine, TorchEngine):
        with pytest.raises(TypeError, match="neg_mode new "):
            engine(model, TRAIN, config, rng=np.random.default_rng(0), exclude=None).epoch()


def test_negatives_without_an_entry_have_no_words_and_no_cost() -> None:
    config = config_of(loss="bpr").model_copy(update={"negatives": SimpleNamespace(mode="new")})
    with pytest.raises(TypeError, match="neg_mode new has no flat parameters"):
        config.to_flat()
    with pytest.raises(TypeError, match="neg_mode new has no label"):
        config.label()
    with pytest.raises(TypeError, match="neg_mode new has no cost"):
        Factorization.cost(config, Size(1, 4, 1))


@pytest.mark.parametrize("word", [word for word in LOSSES if word != "bce"])
def test_both_engines_say_what_a_sample_is(word: str) -> None:
    config = config_of(loss=word, **OWN[word])
    compiled = rows.per_pair.py_func(plan.make_plan(config, 4).loss)
    assert PAIR_LOSSES[type(config.loss)].per_pair == compiled == (word == "bpr")


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("engine", [TorchEngine, NumbaEngine])
def test_what_is_shuffled_is_a_sample(
    pairs: bool, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `redraw: once`, by what the loss says of itself, whatever its name."""
    own = replace(PAIR_LOSSES[Softmax], per_pair=pairs)
    monkeypatch.setitem(PAIR_LOSSES, Softmax, own)
    monkeypatch.setattr(numba_engine, "per_pair", SimpleNamespace(py_func=lambda loss: pairs))
    config = config_of(loss="softmax", redraw="once", neg_mode="fixed", neg_sample_num=2)
    model = LFM(1, 4, 1, rng=np.random.default_rng(0))
    trained = engine(model, TRAIN, config, rng=np.random.default_rng(1))
    drawn = trained._given if engine is NumbaEngine else trained._once[2]
    assert drawn.shape == ((2, 1) if pairs else (1, 2))


class NewLoss(Bpr):
    """A loss of which neither engine knows anything."""


class NewOptimizer(BaseModel):
    """The same of an optimizer."""

    kind: str = "new"
    lr: float = 0.1
    l2: float = 0.0
    l2_bias: float = 0.0


NEW = {
    "score": {"score": "new"},
    "redraw": {"redraw": "new"},
    "negatives_exclude": {"negatives_exclude": "new"},
    "loss": {"loss": NewLoss()},
    "optimizer": {"optimizer": NewOptimizer()},
    "adagrad_per": {"optimizer": Adagrad.model_construct(kind="adagrad", lr=0.1, per="new")},
}


@pytest.mark.parametrize("engine", [TorchEngine, NumbaEngine])
@pytest.mark.parametrize("word", NEW)
def test_a_word_without_an_entry_trains_in_neither_engine(word: str, engine: Any) -> None:
    config = config_of(loss="bpr").model_copy(update=NEW[word])
    model = LFM(1, 4, 1, rng=np.random.default_rng(0))
    with pytest.raises((TypeError, KeyError)):
        engine(model, TRAIN, config, rng=np.random.default_rng(0), exclude=TRAIN).epoch()


@pytest.mark.parametrize("part", ["loss", "optimizer", "mode", "score"])
def test_a_number_without_an_arm_is_not_compiled(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new constant of `plan`, before the kernels have an arm for it."""
    made = plan.make_plan(config_of(loss="bpr"), 4)._replace(**{part: 9})
    monkeypatch.setattr(numba_engine, "make_plan", lambda config, n_items: made)
    model = LFM(1, 4, 1, rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match=f"{part} 9 has no arm in the kernels"):
        NumbaEngine(model, TRAIN, config_of(loss="bpr"), rng=np.random.default_rng(0))


@pytest.mark.parametrize("engine", [TorchEngine, NumbaEngine])
@pytest.mark.parametrize("word", REDRAWN)
def test_negatives_are_redrawn_as_they_say(word: str, engine: Any) -> None:
    """Of 200 free items, those trained on: as many as a row has, or more with every epoch."""
    model = LFM(1, 201, 1, rng=np.random.default_rng(0))
    train = CSR.from_pairs(np.array([0]), np.array([0]), 1, 201)
    config = config_of(loss="bpr", optimizer="sgd", redraw=word)
    before = model.views().item_factors.copy()
    trained = engine(model, train, config, rng=np.random.default_rng(1))
    for _ in range(5):
        trained.epoch()
    moved = np.count_nonzero((model.views().item_factors != before).any(1)) - 1
    assert (moved == 1) == REDRAWN[word]
