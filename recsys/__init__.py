"""A recommender for implicit feedback, usable on its own: see the README's five-line example.

Names are loaded when first used, so `import recsys` costs nothing.

Beside the rooms `data/`, `kernels/`, `models/` and `quickstart/` there are files for: holding data
(`interactions`, `receivers`), dividing them (`split_plan`, `split`, `moments`, `evidence`), judging
a model on them (`metrics`, `scoring`, `bounds`, `evaluation`), models compared with others
(`rivals`, `blending`, `earlier`), a model in use (`recommending`, `submission`, `vectors`), and
what all of these need (`errors`, `output`, `safe_files`, `yamlio`). Their layers are import
contracts in pyproject.toml.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys.data import Dataset, load
    from recsys.errors import ConfigError, DivergedError, InputError, UserError
    from recsys.evaluation import Evaluation, evaluate, top_items
    from recsys.interactions import CSR, Interactions
    from recsys.models import MODELS, EpochReport, Model, ModelConfig, config_from_flat
    from recsys.models.ease import EASE
    from recsys.models.item_knn import ItemKNN
    from recsys.models.mf.config import TrainConfig
    from recsys.models.mf.fit import Fit, fit
    from recsys.models.mf.model import LFM
    from recsys.models.mf.training import train
    from recsys.models.popularity import Popularity
    from recsys.split import Split, SplitPlan, make_split
    from recsys.submission import check_submission, write_submission

_HOME = {
    "data": ("Dataset", "load"),
    "errors": ("ConfigError", "DivergedError", "InputError", "UserError"),
    "evaluation": ("Evaluation", "evaluate", "top_items"),
    "interactions": ("CSR", "Interactions"),
    "models": ("MODELS", "EpochReport", "Model", "ModelConfig", "config_from_flat"),
    "models.ease": ("EASE",),
    "models.item_knn": ("ItemKNN",),
    "models.mf.config": ("TrainConfig",),
    "models.mf.model": ("LFM",),
    "models.mf.fit": ("Fit", "fit"),
    "models.mf.training": ("train",),
    "models.popularity": ("Popularity",),
    "split": ("Split", "SplitPlan", "make_split"),
    "submission": ("check_submission", "write_submission"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE)


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'recsys' has no attribute {name!r}")
    return getattr(import_module(f"recsys.{_MODULE[name]}"), name)
