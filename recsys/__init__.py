"""A recommender for implicit feedback, usable on its own: see the README's five lines.

Names are loaded when first used, so `import recsys` costs nothing. The functions `train` and
`evaluate` are not among them: their modules already have those names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys.baselines import EASE, ItemKNN, Popularity, best_ease
    from recsys.config import TrainConfig
    from recsys.data import Dataset, load
    from recsys.errors import ConfigError, DivergedError, InputError, UserError
    from recsys.evaluate import Evaluation, top_items
    from recsys.interactions import CSR, Interactions
    from recsys.model import LFM
    from recsys.split import Split, SplitPlan, make_split
    from recsys.submission import check_submission, write_submission
    from recsys.train import EpochReport, Fit, fit

__all__ = [
    "CSR",
    "EASE",
    "LFM",
    "ConfigError",
    "Dataset",
    "DivergedError",
    "EpochReport",
    "Evaluation",
    "Fit",
    "InputError",
    "Interactions",
    "ItemKNN",
    "Popularity",
    "Split",
    "SplitPlan",
    "TrainConfig",
    "UserError",
    "best_ease",
    "check_submission",
    "fit",
    "load",
    "make_split",
    "top_items",
    "write_submission",
]

_HOME = {
    "baselines": ("EASE", "ItemKNN", "Popularity", "best_ease"),
    "config": ("TrainConfig",),
    "data": ("Dataset", "load"),
    "errors": ("ConfigError", "DivergedError", "InputError", "UserError"),
    "evaluate": ("Evaluation", "top_items"),
    "interactions": ("CSR", "Interactions"),
    "model": ("LFM",),
    "split": ("Split", "SplitPlan", "make_split"),
    "submission": ("check_submission", "write_submission"),
    "train": ("EpochReport", "Fit", "fit"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'recsys' has no attribute {name!r}")
    return getattr(import_module(f"recsys.{_MODULE[name]}"), name)
