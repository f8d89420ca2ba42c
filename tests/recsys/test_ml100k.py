"""MovieLens-100K, rating >= 4: numbers that this project promises, on real data."""

import numpy as np
import pytest

from recsys import SplitPlan, TrainConfig, fit, load, make_split, rivals
from recsys.data import Dataset
from recsys.errors import InputError
from recsys.evaluation import evaluate
from recsys.models import fit_model
from recsys.models.ease import EaseConfig
from recsys.models.popularity import Popularity
from recsys.split import HoldOut, Split


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    try:
        return load("ml-100k")
    except InputError as error:
        pytest.skip(f"MovieLens-100K cannot be had here: {error}")


@pytest.fixture(scope="module")
def splits(dataset: Dataset) -> list[Split]:
    plan = SplitPlan("random", HoldOut("ratio", 0.1), HoldOut("ratio", 0.1))
    return [make_split(dataset, plan, seed) for seed in (0, 1, 2)]


def test_baselines_score_what_they_are_known_to(splits: list[Split]) -> None:
    """Popularity .059/.069 and EASE .143/.172 on validation/test, within split noise."""
    rows = []
    for split in splits:
        assert split.test is not None
        both = split.train.union(split.valid)
        ease = rivals.Rival("ease", tuple(EaseConfig(ease_l2=x) for x in (125.0, 250.0, 500.0)))
        rng = np.random.default_rng(0)
        choice = rivals.choose(ease, split.train, split.valid, ["map@50"], rng=rng)
        assert choice.config is not None
        popular = evaluate(Popularity(split.train), split.train, split.valid, ["map@50"])
        tested = evaluate(fit_model(choice.config, both, rng=rng), both, split.test, ["map@50"])
        plain = evaluate(Popularity(both), both, split.test, ["map@50"])
        values = [x.values["map@50"] for x in (popular, plain, tested)]
        rows.append([choice.value, *values])
    ease_valid, popular_valid, popular_test, ease_test = np.mean(rows, axis=0)
    assert ease_valid == pytest.approx(0.143, abs=0.008)
    assert ease_test == pytest.approx(0.172, abs=0.008)
    assert popular_valid == pytest.approx(0.059, abs=0.008)
    assert popular_test == pytest.approx(0.069, abs=0.008)


@pytest.mark.parametrize("engine", ["torch", "numba"])
def test_a_short_training_beats_popularity_by_far(splits: list[Split], engine: str) -> None:
    split = splits[0]
    config = TrainConfig.from_flat(
        {
            "neg_mode": "hard",
            "num_candidate_neg_samples": 50,
            "num_hard_neg_samples": 3,
            "num_random_neg_samples": 3,
            "optimizer": "adam",
            "lr": 0.004,
            "latent_factors": 64,
            "batch_size": 512,
            "epochs": 4,
        }
    )
    _, history = fit(
        split.train,
        split.valid,
        config,
        rng=np.random.default_rng(0),
        engine=engine,  # type: ignore[arg-type]
    )
    popular = evaluate(Popularity(split.train), split.train, split.valid, ["map@50"])
    assert history[-1].best_value > 0.11 > 1.5 * popular.values["map@50"]
