"""What a config is said to take, against what the compiled engine holds and draws."""

from __future__ import annotations

import tracemalloc
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from recsys.interactions import CSR
from recsys.models.base import Size
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.entry import BESIDE, Factorization
from recsys.models.mf.model import LFM
from recsys.models.mf.numba_engine import NumbaEngine
from recsys.models.mf.torch_engine import TorchEngine

LOSSES = ("bpr", "softmax", "softmax_at_k", "bce")
NEGATIVES: dict[str, dict[str, Any]] = {
    "even": {"neg_mode": "even"},
    "fixed": {"neg_mode": "fixed", "neg_sample_num": 12},
    "more than there are": {"neg_mode": "fixed", "neg_sample_num": 99_999},
    "hard": {
        "neg_mode": "hard",
        "num_candidate_neg_samples": 40,
        "num_hard_neg_samples": 6,
        "num_random_neg_samples": 3,
    },
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "adagrad": {"optimizer": "adagrad"},
    "rows": {"optimizer": "adagrad", "adagrad_per": "row"},
    "sgd": {"optimizer": "sgd"},
}
MODES: dict[str, dict[str, Any]] = {
    "online": {},
    "batch": {"batch_size": 500},
    "whole": {"batch_size": 10_000_000},
    "once": {"redraw": "once"},
    "once in batches": {"redraw": "once", "batch_size": 500},
    "leak": {"negatives_exclude": "all"},
}


def legal(loss: str, negatives: str) -> bool:
    return not (loss == "bce" and negatives == "hard")


def skewed(users: int, items: int, most: int, seed: int = 0) -> CSR:
    """Most users have a few items, some many, and every twentieth none."""
    rng = np.random.default_rng(seed)
    degrees = np.minimum(1 + rng.pareto(1.2, users) * 4, most).astype(int)
    degrees[::20] = 0
    chosen = [rng.choice(items, n, replace=False) for n in degrees]
    return CSR.from_pairs(
        np.repeat(np.arange(users), degrees), np.concatenate(chosen), users, items
    )


TRAIN = skewed(2_000, 600, 400)
HELD = skewed(2_000, 600, 3, seed=1)


def config_of(*parts: dict[str, Any], **more: Any) -> TrainConfig:
    flat: dict[str, Any] = {"lr": 0.01, "latent_factors": 16, "epochs": 3, "patience": 0}
    for part in (*parts, more):
        flat |= part
    if flat.get("loss") == "softmax_at_k":
        flat["top_k"] = 20
    return TrainConfig.from_flat(flat)


def engine_of(config: TrainConfig, train: CSR, kind: Any = NumbaEngine) -> Any:
    d, rng = config.latent_factors, np.random.default_rng(0)
    model = LFM(train.n_users, train.n_items, d, rng=rng)
    return kind(model, train, config, rng=rng, exclude=HELD)


def held_by(engine: NumbaEngine) -> int:
    """Bytes of the weights, their best copy, and what the engine has beside."""
    return engine.nbytes + 2 * sum(one.nbytes for one in engine.weights)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("loss", "negatives"), [pair for pair in product(LOSSES, NEGATIVES) if legal(*pair)]
)
def test_memory_is_what_the_engine_holds(loss: str, negatives: str, mode: str) -> None:
    if negatives == "more than there are" and "redraw" in MODES[mode] and loss != "bce":
        pytest.skip("2 GB of drawn items")
    for optimizer in OPTIMIZERS:
        parts = {"loss": loss}, NEGATIVES[negatives], OPTIMIZERS[optimizer], MODES[mode]
        config = config_of(*parts)
        holds = held_by(engine_of(config, TRAIN))
        told = Factorization.cost(config, Size.of(TRAIN)).memory
        assert holds <= told <= 2 * holds + BESIDE, optimizer


def test_making_it_takes_no_more() -> None:
    """Negatives drawn once are made pair by pair: what they are made of is there at the time."""
    for loss, redraw in product(("bpr", "softmax"), ("once", "epoch")):
        config = config_of(NEGATIVES["fixed"], loss=loss, redraw=redraw)
        engine_of(config, TRAIN)  # compiled
        tracemalloc.start()
        held = held_by(engine_of(config, TRAIN))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        best = 4 * (TRAIN.n_users + TRAIN.n_items) * 17  # not made by the engine
        told = Factorization.cost(config, Size.of(TRAIN)).memory
        assert held - best <= peak + best <= told, loss


def samples_of(config: TrainConfig, train: CSR) -> int:
    """How many samples an epoch is trained on, counted by the kernels."""
    engine = engine_of(config, train)
    counted = []
    whole = engine._pass
    engine._pass = lambda rows: counted.append(whole(rows)) or counted[-1]
    engine.epoch()
    return int(counted[0][1])


@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
@pytest.mark.parametrize("loss", ["bpr", "bce"])
def test_work_grows_as_what_is_drawn(loss: str, optimizer: str) -> None:
    """Within a kind, in which a measured epoch stands for all configs."""
    ways = [NEGATIVES["even"], *({"neg_mode": "fixed", "neg_sample_num": n} for n in (5, 50, 200))]
    shape = config_of(loss=loss, optimizer=optimizer, batch_size=5_000)
    told, real = [], []
    for way in ways:
        config = config_of(shape.to_flat() | way)
        told.append(Factorization.cost(config, Size.of(TRAIN)).work)
        pairs = samples_of(config, TRAIN)
        real.append(pairs + (TRAIN.nnz if loss == "bpr" else 0))  # positives are moved too
    # users without a positive draw nothing, of which a size knows nothing: one in twenty
    np.testing.assert_allclose(np.array(told) / told[0], np.array(real) / real[0], rtol=0.06)


def test_candidates_count_and_cost_no_more_than_there_are() -> None:
    few, many = (
        config_of(NEGATIVES["hard"], num_candidate_neg_samples=n).model_copy() for n in (600, 9_000)
    )
    size = Size.of(TRAIN)
    assert Factorization.cost(few, size) == Factorization.cost(many, size)
    less = config_of(NEGATIVES["hard"], num_candidate_neg_samples=450)
    assert Factorization.cost(less, size).work < Factorization.cost(few, size).work


def test_negatives_of_a_user_are_counted_by_user() -> None:
    """The audited case: a million users with 300 negatives each."""
    size = Size(1_000_000, 100_000, 10_000_000)
    config = config_of(loss="bce", neg_mode="fixed", neg_sample_num=300, latent_factors=32)
    assert Factorization.cost(config, size).memory > 8 * 310_000_000
    more = config_of(loss="bce", neg_mode="fixed", neg_sample_num=600, latent_factors=32)
    works = [Factorization.cost(one, size).work for one in (config, more)]
    assert works[1] / works[0] == pytest.approx(610 / 310)


@pytest.mark.parametrize("negatives", ["even", "fixed"])
def test_the_torch_engine_keeps_no_padding(negatives: str) -> None:
    """The same draws as of a padded matrix of all users, without the matrix."""
    config = config_of(NEGATIVES[negatives], loss="bce", redraw="once")
    engine = engine_of(config, TRAIN, TorchEngine)
    users, items, labels = engine._once
    assert len(users) == len(items) == len(labels) == samples_of(config, TRAIN)
    again = engine_of(config, TRAIN, TorchEngine)
    again.generator.manual_seed(3)
    found = again._user_negatives()
    again.generator.manual_seed(3)
    degrees = torch.from_numpy(TRAIN.degrees().copy())
    each = degrees if negatives == "even" else torch.where(degrees > 0, 12, 0)
    every, width = torch.arange(TRAIN.n_users), int(each.max())
    parts = zip(every.split(size := again._draw_size(width)), each.split(size), strict=True)
    padded = torch.cat([again.sampler.draw(part, width, some) for part, some in parts])
    user, column = (padded >= 0).nonzero(as_tuple=True)
    assert torch.equal(found[0].long(), user)
    assert torch.equal(found[1].long(), padded[user, column])


def test_the_size_of_a_model_does_not_depend_on_its_negatives() -> None:
    """A race that prefers small models compares these: more negatives make no larger model."""
    size = Size.of(TRAIN)
    sizes = {
        Factorization.cost(config_of(way, loss="bpr"), size).model_bytes
        for way in NEGATIVES.values()
    }
    assert len(sizes) == 1
    d = config_of({}, latent_factors=17)
    assert Factorization.cost(d, size).model_bytes > sizes.pop()
