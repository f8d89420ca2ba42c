"""All models, each behind the contract in `base.py`.

A model is one file (or folder) and one line in `MODELS`. Classes named there are imported at first
use: checking a space needs only the configs, which import neither torch nor numba. In: a flat
config and interactions. Out: a `Model`, and a report for each epoch of its training.

`base` is the contract, `progress` what an epoch reports, `epochs` the loop of all models that have
epochs, `saved` a model in a folder, `catalogue` the ids and seen items beside it. Models:
`popularity`, `ease`, `slim`, `item_knn`, `rp3beta` (which share `linear` and `neighbours`), `ials`,
and `mf/`; `blend` is made of trained models. `weighted` has the weights of pairs, for those that
can use them. `warm_up` compiles kernels before workers start; the kernels of models that are one
file each are in `kernels/`.

Others import: base, blend, catalogue, ease, item_knn, popularity, progress, saved, slim, warm_up,
weighted.

May import: evaluation, metrics, scoring, interactions, kernels, safe_files, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from recsys.errors import ConfigError
from recsys.interactions import CSR
from recsys.models.base import Cost, EpochReport, Model, ModelConfig, Size

__all__ = [
    "DEFAULT",
    "MODELS",
    "Cost",
    "Entry",
    "EpochReport",
    "Model",
    "ModelConfig",
    "Size",
    "bytes_of",
    "config_from_flat",
    "config_of",
    "fit_model",
    "leaky",
    "model_named",
    "model_of",
    "new_model",
]


@dataclass(frozen=True)
class Entry:
    """Where a model's two classes are, each as `module:class`: its config and the model itself."""

    config: str
    model: str


MODELS: dict[str, Entry] = {
    "lfm": Entry("recsys.models.mf.config:TrainConfig", "recsys.models.mf.entry:Factorization"),
    "ease": Entry("recsys.models.ease:EaseConfig", "recsys.models.ease:EASE"),
    "item_knn": Entry("recsys.models.item_knn:ItemKnnConfig", "recsys.models.item_knn:ItemKNN"),
    "ials": Entry("recsys.models.ials:IalsConfig", "recsys.models.ials:IALS"),
    "rp3beta": Entry("recsys.models.rp3beta:Rp3betaConfig", "recsys.models.rp3beta:RP3beta"),
    "slim": Entry("recsys.models.slim:SlimConfig", "recsys.models.slim:SLIM"),
    "popularity": Entry(
        "recsys.models.popularity:PopularityConfig", "recsys.models.popularity:Popularity"
    ),
}
# Models that are put together from trained ones; no space can choose them.
COMPOSED: dict[str, Entry] = {
    "blend": Entry("recsys.models.blend:BlendConfig", "recsys.models.blend:Blend"),
}
DEFAULT = "lfm"  # the model of a flat config that does not name one


def config_of(name: str) -> type[ModelConfig]:
    """The config class of the model called `name`, or of a blend; `ConfigError` for other names."""
    found: type[ModelConfig] = _load(_entry(name).config)
    return found


def model_of(config: ModelConfig) -> type[Model]:
    """The model class that a config belongs to."""
    return model_named(config.model)


def bytes_of(config: ModelConfig, size: Size) -> int:
    """About how many bytes the model of a config takes while it is trained on data of a size."""
    return model_of(config).cost(config, size).model_bytes


def model_named(name: str) -> type[Model]:
    """The class of the model called `name`, or of a blend; `ConfigError` for other names."""
    found: type[Model] = _load(_entry(name).model)
    return found


def new_model(config: ModelConfig, items: CSR, rng: np.random.Generator) -> Model:
    """An untrained model of `config` for the users and items of `items`, a CSR of U x I.

    rng: draws the initial weights, in models that have any. Raises ConfigError for a blend.
    """
    return model_of(config).create(config, items.n_users, items.n_items, rng=rng)


def fit_model(
    config: ModelConfig,
    items: CSR,
    *,
    rng: np.random.Generator,
    threads: int = 1,
    device: str = "cpu",
    on_epoch: Callable[[], None] | None = None,
) -> Model:
    """A model trained on `items` without validation, for the number of epochs in its config.

    items: a CSR of U x I. rng: draws the initial weights and seeds the training. threads: of the
    CPU. device: torch's name, "cpu" or "cuda"; only the factorization uses it. on_epoch:
    called after every epoch, once for a model without epochs. The returned model is in host memory.
    Raises what `Model.train` raises, and ConfigError for a blend.
    """
    model = new_model(config, items, rng)
    for _ in model.train(config, items, None, rng=rng, threads=threads, device=device):
        if on_epoch is not None:
            on_epoch()
    return model.to_host()


def config_from_flat(flat: dict[str, Any]) -> ModelConfig:
    """The config that flat parameters describe; `model` names the model and defaults to `lfm`.

    Raises ConfigError for a parameter that is unknown, missing or out of bounds.
    """
    return config_of(flat.get("model", DEFAULT)).from_flat(flat)


def leaky(flat: Mapping[str, Any] | None) -> bool:
    """Whether a flat config, or some parameters of one, let training know which items are held out.

    It does if a parameter has a value that the `leaks` of any model's config list; None has none.
    Only this function and `ModelConfig.leaky`, which also covers blends, decide this.
    """
    known = flat or {}
    return any(
        known.get(parameter) == word
        for name in MODELS
        for parameter, word in config_of(name).leaks.items()
    )


def _entry(name: object) -> Entry:
    found = (MODELS.get(name) or COMPOSED.get(name)) if isinstance(name, str) else None
    if found is None:
        raise ConfigError(f"model is {name!r}: expected one of {', '.join(MODELS)}", "model")
    return found


@cache
def _load(address: str) -> Any:
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)
