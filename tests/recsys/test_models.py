"""Every model keeps the one contract, and a new one needs one file and one line."""

from __future__ import annotations

import math
import pickle
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import Field

from recsys.errors import ConfigError, InputError
from recsys.evaluation import evaluate, top_items
from recsys.interactions import CSR, rows_of
from recsys.models import (
    MODELS,
    Entry,
    Size,
    config_from_flat,
    config_of,
    fit_model,
    leaky,
    model_of,
    warm_up,
)
from recsys.models.base import Cost, EpochReport, ListScorer, Model, ModelConfig
from recsys.models.mf.config import TrainConfig
from recsys.models.warm_up import warm_up_machine, warm_up_models

Planted = tuple[CSR, CSR]

FLAT: dict[str, dict[str, Any]] = {
    "lfm": {"lr": 0.1, "epochs": 4, "latent_factors": 8, "neg_mode": "even"},
    "ease": {"model": "ease", "ease_l2": 30.0},
    "item_knn": {"model": "item_knn", "knn_neighbours": 20},
    "ials": {"model": "ials", "ials_factors": 8, "epochs": 3},
    "rp3beta": {"model": "rp3beta", "rp3_neighbours": 20},
    "slim": {"model": "slim", "slim_neighbours": 20},
    "popularity": {"model": "popularity"},
}


def test_every_model_is_tried_here() -> None:
    assert FLAT.keys() == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_a_config_is_flat_at_the_doors_only(name: str) -> None:
    config = config_from_flat(FLAT[name])
    assert type(config) is config_of(name)
    assert config.model == name
    assert config_from_flat(config.to_flat()) == config
    assert config.parameters().keys() | {"epochs", "model"} >= config.to_flat().keys()
    with pytest.raises(ConfigError, match="nonsense"):
        config_from_flat(FLAT[name] | {"nonsense": 1})


@pytest.mark.parametrize("name", MODELS)
def test_training_ends_with_a_report_that_says_so(name: str, planted: Planted) -> None:
    train, valid = planted
    config = config_from_flat(FLAT[name])
    rng = np.random.default_rng(0)
    model = model_of(config).create(config, train.n_users, train.n_items, rng=rng)
    *before, last = model.train(
        config, train, valid, rng=rng, metric="map@20", metrics=["recall@5"]
    )
    assert all(report.stop is None for report in before)
    assert last.stop == "epochs"
    assert last.metrics.keys() == {"map@20", "recall@5"}
    # what is reported is what the model now says
    now = evaluate(model, train, valid, ["map@20"]).values["map@20"]
    assert now == last.best_value == max(r.metrics["map@20"] for r in [*before, last])


@pytest.mark.parametrize("name", MODELS)
def test_without_held_out_items_nothing_is_measured(name: str, planted: Planted) -> None:
    train, _ = planted
    config = config_from_flat(FLAT[name]).for_epochs(2)
    rng = np.random.default_rng(0)
    model = model_of(config).create(config, train.n_users, train.n_items, rng=rng)
    *_, last = model.train(config, train, None, rng=rng)
    assert last.metrics == {}
    assert math.isnan(last.best_value)
    assert last.epoch == last.best_epoch <= 2


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_scores_the_same(name: str, planted: Planted) -> None:
    train, _ = planted
    config = config_from_flat(FLAT[name])
    rng = np.random.default_rng(0)
    kind = model_of(config)
    model = kind.create(config, train.n_users, train.n_items, rng=rng)
    list(model.train(config, train, None, rng=rng))
    again = kind.from_bytes(model.to_bytes())
    assert again.to_bytes() == model.to_bytes()  # a blend's file is made of its members' bytes
    users = np.array([5, 0, 17])
    np.testing.assert_array_equal(again.score_users(users), model.score_users(users))
    best = top_items(again, train, users, 10)
    np.testing.assert_array_equal(best, top_items(model, train, users, 10))


def compiled() -> dict[str, int]:
    """How many signatures each kernel of the models has been compiled for."""
    rooms = ("recsys.models.kernels.", "recsys.models.mf.kernels.")
    return {
        f"{module}.{name}": len(kernel.signatures)
        for module in list(sys.modules)
        if module.startswith(rooms)
        for name, kernel in vars(sys.modules[module]).items()
        if hasattr(kernel, "signatures")
    }


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_compiled_after_the_warm_up(name: str, planted: Planted) -> None:
    notes: list[str] = []
    configs = [config_from_flat(FLAT[name])] * 2
    assert warm_up_models(configs, threads=2, note=notes.append) > 0
    assert notes == []
    before = compiled()
    for threads in (1, 2):
        train, rng = planted[0], np.random.default_rng(0)
        model = fit_model(configs[0], train, rng=rng, threads=threads)
        model.list_scorer(configs[0], train)(rows_of(train, np.array([0])))
    assert compiled() == before


@pytest.mark.parametrize("name", MODELS)
def test_what_a_config_says_of_its_parameters_are_parameters(name: str) -> None:
    kind = config_of(name)
    ways = {one for several in kind.alternatives for one in several}
    assert {*kind.structural, *kind.leaks, *ways} <= kind.parameters().keys()
    assert config_from_flat(FLAT[name]).kind.split()[0] == name


@pytest.mark.parametrize("name", MODELS)
def test_more_data_costs_more(name: str) -> None:
    config = config_from_flat(FLAT[name])
    small = model_of(config).cost(config, Size(100, 50, 1000))
    large = model_of(config).cost(config, Size(10_000, 5_000, 1_000_000))
    assert 0 < small.memory < large.memory
    assert 0 < small.work < large.work


HARD = {"neg_mode": "hard", "num_candidate_neg_samples": 5}
COSINE = {"loss": "softmax", "score": "cosine"}


@pytest.mark.parametrize(
    ("flat", "blamed"),
    [
        ({"model": "gone"}, "model"),
        ({"model": "ease", "speed": 1}, "speed"),
        ({"model": "ease", "l2": -1.0}, "l2"),
        ({"speed": 1}, "speed"),
        ({"lr": 99.0}, "lr"),
        ({"loss": "gone"}, "loss"),
        ({"loss": "gone", "margin": 1.0}, "loss"),
        ({"loss": ["bpr"]}, "loss"),
        ({"optimizer": "gone"}, "optimizer"),
        ({"optimizer": "gone", "weight_decay": 0.1}, "optimizer"),
        ({"optimizer": "adam", "l2": 0.1}, "l2"),
        ({"optimizer": "sgd", "adagrad_per": "row"}, "adagrad_per"),
        ({"neg_mode": "fixed"}, "neg_sample_num"),
        ({"neg_mode": "fixed", "neg_sample_num": 0}, "neg_sample_num"),
        ({"neg_mode": "hard"}, "num_candidate_neg_samples"),
        (HARD, "neg_mode"),
        ({**HARD, "hard_fraction": 2}, "hard_fraction"),
        ({**HARD, "num_hard_neg_samples": 6}, "num_hard_neg_samples"),
        ({**HARD, "num_hard_neg_samples": 5, "loss": "bce"}, "neg_mode"),
        ({"score": "cosine"}, "score"),
        ({**COSINE, "l2": 0.1}, "l2"),
        ({**COSINE, "optimizer": "adam", "weight_decay": 0.1}, "weight_decay"),
        ({**COSINE, "init_std": 0.1}, "init_std"),
    ],
    ids=str,
)
def test_a_refusal_says_which_parameter_it_is_about(flat: dict[str, Any], blamed: str) -> None:
    needed = {} if "model" in flat else {"lr": 0.1}
    with pytest.raises(ConfigError) as caught:
        config_from_flat(needed | flat)
    assert caught.value.parameter == blamed
    assert str(caught.value).startswith(blamed)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.parameter) == (str(caught.value), blamed)


def test_the_model_of_a_factorization_needs_no_name() -> None:
    flat = {"lr": 0.1}
    assert config_from_flat(flat) == config_from_flat(flat | {"model": "lfm"})
    assert "model" not in TrainConfig.from_flat(flat).to_flat()  # trial seeds depend on it


@pytest.mark.parametrize("name", ["als", "", None, 3])
def test_an_unknown_model_is_named(name: Any) -> None:
    with pytest.raises(ConfigError, match="expected one of lfm, ease"):
        config_from_flat({"model": name})


# --- a new model: this class in a file of its own, and one line in MODELS -----------------------


class NewestConfig(ModelConfig):
    model: ClassVar[str] = "newest"
    half_life: float = Field(10.0, gt=0, le=1000)


class Newest(Model):
    """Items with a high number are new, and new is good."""

    def __init__(self, n_items: int) -> None:
        self._scores = np.zeros(n_items, np.float32)

    @classmethod
    def create(cls, config: Any, n_users: int, n_items: int, *, rng: np.random.Generator) -> Newest:
        return cls(n_items)

    def train(  # type: ignore[override]
        self,
        config: NewestConfig,
        positives: CSR,
        held_out: CSR | None,
        *,
        metric: str = "map@50",
        metrics: Sequence[str] = (),
        threads: int = 1,
        **_: Any,
    ) -> Iterator[EpochReport]:
        age = np.arange(positives.n_items)[::-1]
        self._scores = np.asarray(0.5 ** (age / config.half_life), np.float32)
        if held_out is None:
            yield EpochReport(1, math.nan, {}, 1, math.nan, 0.0, 0.0, "epochs")
            return
        found = evaluate(self, positives, held_out, [metric, *metrics])
        best = found.values[metric]
        yield EpochReport(1, math.nan, found.values, 1, best, 0.0, 0.0, "epochs", found)

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        return np.broadcast_to(self._scores, (len(users), len(self._scores)))

    def list_scorer(self, config: Any, seen: CSR) -> ListScorer:
        return lambda lists: self.score_users(np.arange(lists.n_users))

    def arrays(self) -> dict[str, NDArray]:
        return {"scores": self._scores}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Newest:
        model = cls(0)
        model._scores = arrays["scores"]
        return model

    @staticmethod
    def cost(config: Any, size: Size) -> Cost:
        return Cost(4 * size.items, float(size.items))


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> None:
    file = ModuleType("newest_model")
    file.NewestConfig, file.Newest = NewestConfig, Newest  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "newest_model", file)
    line = Entry("newest_model:NewestConfig", "newest_model:Newest")
    monkeypatch.setitem(MODELS, "newest", line)


@pytest.mark.usefixtures("newest")
def test_a_new_model_is_one_file_and_one_line(planted: Planted) -> None:
    train, valid = planted
    config = config_from_flat({"model": "newest", "half_life": 3.0})
    rng = np.random.default_rng(0)
    model = model_of(config).create(config, train.n_users, train.n_items, rng=rng)
    (report,) = model.train(config, train, valid, rng=rng, metric="map@20")
    assert report.best_value >= 0
    assert (config.kind, config.leaky) == ("newest", False)
    again = Newest.from_bytes(model.to_bytes())
    assert top_items(again, train, [0], 3).shape == (1, 3)


@pytest.mark.usefixtures("newest")
def test_a_model_too_good_for_three_items_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Iterator[EpochReport]:
        raise InputError("expected ten items")

    monkeypatch.setattr(Newest, "train", refuse)
    notes: list[str] = []
    warm_up_models([config_from_flat({"model": "newest"})], note=notes.append)
    assert notes == ["newest is not compiled before the first trial: expected ten items"]


@pytest.mark.usefixtures("newest")
@pytest.mark.parametrize(
    ("flat", "most"),
    [
        ({"lr": 0.1, "epochs": 7}, 7),
        ({"model": "ials"}, 16),
        ({"model": "slim"}, None),
        ({"model": "newest"}, None),
    ],
)
def test_a_config_says_how_many_epochs_it_has(flat: dict[str, Any], most: int | None) -> None:
    config = config_from_flat(flat)
    assert (config.most_epochs, config.has_epochs()) == (most, most is not None)
    assert config.for_epochs(3).most_epochs == (3 if most else None)


@pytest.mark.usefixtures("newest")
def test_a_new_model_says_itself_what_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not leaky({"model": "newest", "half_life": 3.0})
    monkeypatch.setattr(NewestConfig, "leaks", {"half_life": 3.0})
    assert leaky({"model": "newest", "half_life": 3.0})
    assert NewestConfig(half_life=3.0).leaky
    assert not NewestConfig(half_life=4.0).leaky


def test_a_machine_compiles_what_trains_a_model_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def compile_it(configs: list[ModelConfig], **_: Any) -> float:
        time.sleep(0.2)  # the others come meanwhile
        compiled.extend(config.model for config in configs)
        return 0.0

    monkeypatch.setattr(warm_up, "warm_up_models", compile_it)
    monkeypatch.setattr(warm_up, "cache_folder", lambda: tmp_path)
    config = config_from_flat({"model": "ease"})
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda _: warm_up_machine(config), range(4)))
    warm_up_machine(config)
    assert compiled == ["ease"]
    warm_up_machine(config_from_flat({"model": "popularity"}))
    assert compiled == ["ease", "popularity"]
    monkeypatch.setattr(warm_up, "cache_folder", lambda: None)  # each process for itself, later
    warm_up_machine(config)
    monkeypatch.setattr(warm_up, "cache_folder", lambda: tmp_path / "gone")
    warm_up_machine(config)
    assert compiled == ["ease", "popularity"]
