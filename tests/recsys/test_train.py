import math
from typing import Any

import numpy as np
import pytest
import torch

from recsys.errors import ConfigError, DivergedError, InputError
from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.fit import fit
from recsys.models.mf.model import LFM
from recsys.models.mf.training import EpochReport, train
from recsys.models.popularity import Popularity

Planted = tuple[CSR, CSR]


def flat(**changes: Any) -> TrainConfig:
    base: dict[str, Any] = {
        "latent_factors": 8,
        "batch_size": 32,
        "optimizer": "adagrad",
        "lr": 0.1,
        "epochs": 8,
        "patience": 0,
        "init_std": 0.1,
    }
    return TrainConfig.from_flat(base | changes)


HARD = {
    "neg_mode": "hard",
    "num_candidate_neg_samples": 20,
    "num_hard_neg_samples": 3,
    "num_random_neg_samples": 2,
}
FIXED = {"neg_mode": "fixed", "neg_sample_num": 5}
FIXED_BCE = {"neg_mode": "fixed", "neg_sample_num": 30}
ADAM = {"optimizer": "adam", "lr": 0.02, "weight_decay": 1e-5}


@pytest.mark.parametrize(
    "how",
    [
        {"loss": "bpr", "neg_mode": "even"},
        {"loss": "bpr", **FIXED, "redraw": "once"},
        {"loss": "bpr", "margin": 1.0, **FIXED},
        {"loss": "bpr", **HARD},
        {"loss": "bpr", **HARD, **ADAM},
        {"loss": "softmax", "neg_mode": "even"},
        {"loss": "softmax", **FIXED},
        {"loss": "softmax", **HARD, "adagrad_per": "row"},
        {"loss": "bce", "neg_mode": "even", "epochs": 12},
        {"loss": "bce", **FIXED_BCE},
        {"loss": "bce", "neg_mode": "even", **ADAM, "epochs": 30},
        {"loss": "bpr", **FIXED, "optimizer": "sgd", "lr": 3.0, "epochs": 40},
    ],
    ids=str,
)
def test_every_method_finds_the_planted_groups(planted: Planted, how: dict[str, Any]) -> None:
    items, valid = planted
    popular = evaluate(Popularity(items), items, valid, ["map@20"]).values["map@20"]
    result = fit(
        items, valid, flat(**how), rng=np.random.default_rng(0), metric="map@20", engine="torch"
    )
    got = evaluate(result.model, items, valid, ["map@20", "recall@20"]).values
    # 18 unseen items of the own group hold all 4: a list of 20 from that group has every one
    assert got["recall@20"] > 0.95
    assert got["map@20"] > 2 * popular


def reports_of(
    planted: Planted, config: TrainConfig, **more: Any
) -> tuple[LFM, list[EpochReport], list[dict[str, torch.Tensor]]]:
    items, valid = planted
    rng = np.random.default_rng(0)
    model = LFM(items.n_users, items.n_items, config.latent_factors, rng=rng)
    reports, weights = [], []
    options: dict[str, Any] = {"metric": "map@10", "engine": "torch"} | more
    for report in train(model, items, valid, config, rng=rng, **options):
        reports.append(report)
        weights.append({name: w.clone() for name, w in model.state_dict().items()})
    return model, reports, weights


def same(model: LFM, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(w, weights[name]) for name, w in model.state_dict().items())


def test_patience_stops_and_the_best_weights_come_back(planted: Planted) -> None:
    # a rate that overshoots: the metric gets worse again
    config = flat(epochs=60, patience=3, lr=1.0)
    model, reports, weights = reports_of(planted, config)
    last = reports[-1]
    assert last.stop == "patience"
    assert len(reports) < 60
    assert last.epoch == last.best_epoch + 3
    values = [r.metrics["map@10"] for r in reports]
    assert last.best_value == max(values)
    assert last.best_epoch == 1 + values.index(max(values))
    assert all(r.stop is None for r in reports[:-1])
    assert same(model, weights[last.best_epoch - 1])
    assert not same(model, weights[-1])
    result = evaluate(model, *planted, ["map@10"]).values["map@10"]
    assert result == last.best_value


def test_closing_early_also_brings_the_best_weights_back(planted: Planted) -> None:
    items, valid = planted
    config = flat(epochs=60, lr=1.0)
    rng = np.random.default_rng(0)
    model = LFM(items.n_users, items.n_items, 8, rng=rng)
    run = train(model, items, valid, config, rng=rng, metric="map@10", engine="torch")
    for report in run:
        if report.epoch == report.best_epoch:
            best = {name: w.clone() for name, w in model.state_dict().items()}
        if report.epoch >= report.best_epoch + 2:
            break
    assert not same(model, best)
    run.close()
    assert same(model, best)


def test_without_held_out_items_every_epoch_runs(planted: Planted) -> None:
    items, _ = planted
    model, reports, weights = reports_of((items, None), flat(epochs=7, patience=1))  # type: ignore[arg-type]
    assert [r.epoch for r in reports] == list(range(1, 8))
    assert [r.stop for r in reports] == [None] * 6 + ["epochs"]
    assert all(r.metrics == {} and math.isnan(r.best_value) for r in reports)
    assert reports[-1].best_epoch == 7
    assert same(model, weights[-1])


def test_a_history_holds_no_values_of_users(planted: Planted) -> None:
    """They are as large as there are users, for every epoch."""
    config = flat(epochs=3, patience=0)
    fitted = fit(*planted, config, rng=np.random.default_rng(1), metric="map@10")
    assert [report.evaluation for report in fitted.history] == [None] * 3
    assert fitted.history[0].metrics


def test_patience_zero_never_stops(planted: Planted) -> None:
    _, reports, _ = reports_of(planted, flat(epochs=15, patience=0, lr=1.0))
    assert len(reports) == 15
    assert reports[-1].stop == "epochs"


def test_time_limit_ends_after_the_epoch_that_passes_it(planted: Planted) -> None:
    _, reports, _ = reports_of(planted, flat(epochs=50), time_limit=0.0)
    assert [r.stop for r in reports] == ["time"]
    assert reports[0].metrics
    assert reports[0].train_seconds > 0
    assert reports[0].eval_seconds > 0


def test_eval_every_evaluates_those_and_the_last(planted: Planted) -> None:
    _, reports, _ = reports_of(planted, flat(epochs=8), eval_every=3)
    assert [r.epoch for r in reports if r.metrics] == [3, 6, 8]
    assert reports[0].best_epoch == 0
    assert math.isnan(reports[0].best_value)
    assert reports[3].best_epoch == 3


def test_more_metrics_ride_along(planted: Planted) -> None:
    _, reports, _ = reports_of(planted, flat(epochs=1), metrics=("recall@5", "coverage@5"))
    assert list(reports[0].metrics) == ["map@10", "recall@5", "coverage@5"]


def test_same_seed_same_training(planted: Planted) -> None:
    first = reports_of(planted, flat(**HARD))
    again = reports_of(planted, flat(**HARD))
    assert [(r.loss, r.metrics) for r in first[1]] == [(r.loss, r.metrics) for r in again[1]]
    assert same(first[0], again[2][first[1][-1].best_epoch - 1])


def test_divergence_names_epoch_and_config(planted: Planted) -> None:
    config = flat(optimizer="sgd", lr=10.0, init_std=10.0, l2=10.0, batch_size=1)
    with pytest.raises(DivergedError) as caught:
        reports_of(planted, config)
    assert caught.value.epoch >= 1
    assert caught.value.config == config.key()


def test_divergence_seen_only_in_the_scores(planted: Planted) -> None:
    """Finite weights whose product overflows to inf - inf."""
    items, valid = planted
    config = flat(optimizer="sgd", lr=1e-9, epochs=3)
    rng = np.random.default_rng(0)
    model = LFM(items.n_users, items.n_items, 8, rng=rng)
    with torch.no_grad():
        untouched = next(u for u in range(items.n_users) if len(valid.row(u)))
        model.user_factors[:, :2] = 1e30
        model.item_factors[:, 0] = 1e30
        model.item_factors[:, 1] = -1e30
    assert untouched >= 0
    with pytest.raises(DivergedError) as caught:
        list(train(model, items, valid, config, rng=rng, metric="map@10", engine="torch"))
    assert caught.value.epoch == 1


def test_mistakes_are_told_before_training(planted: Planted) -> None:
    items, valid = planted
    nobody = CSR.from_pairs(np.array([], int), np.array([], int), items.n_users, items.n_items)
    with pytest.raises(ConfigError, match="only 120 items"):
        reports_of(planted, flat(), metric="map@121")
    with pytest.raises(ConfigError, match="unknown"):
        reports_of(planted, flat(), metrics=("mrr@3",))
    with pytest.raises(InputError, match="no user has a held-out item"):
        reports_of((items, nobody), flat())
    assert valid.nnz
