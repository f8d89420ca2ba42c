"""The quick start's YAML files, as typed settings: `data.yaml`, `train_bpr.yaml`, `train_bce.yaml`.

An unknown, missing or mistyped key is a ConfigError that names the file and the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys.errors import ConfigError
from recsys.models.base import first_problem
from recsys.models.mf.config import TrainConfig
from recsys.split import HoldOut, SplitPlan
from recsys.yamlio import load_yaml


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataSettings(_Settings):
    """config/data.yaml: the split, the negatives, and when to stop."""

    split_mode: Literal["ratio", "fixed"]
    val_ratio: float = Field(0.1, gt=0, lt=1)
    val_n: int = Field(5, gt=0)
    neg_mode: Literal["fixed", "even"]
    neg_sample_num: int = Field(1, gt=0)
    negatives_exclude: Literal["train", "all"] = "train"
    patience: int = Field(5, ge=0)
    time_limit: float = Field(240.0, gt=0)  # seconds
    seed: int = Field(42, ge=0)

    def plan(self) -> SplitPlan:
        """The split: validation as in the file, without a test."""
        by_ratio = self.split_mode == "ratio"
        valid = HoldOut(self.split_mode, self.val_ratio if by_ratio else self.val_n)
        return SplitPlan(order="random", test=None, valid=valid)


class BceSettings(_Settings):
    """config/train_bce.yaml; `top_k` is also the K of the validation mAP@K."""

    device: Literal["cpu", "gpu"] = "cpu"
    latent_factors: int
    epochs: int
    lr: float
    batch_size: int
    weight_decay: float
    top_k: int = Field(50, gt=0)


class BprSettings(BceSettings):
    """config/train_bpr.yaml; with 0 candidates, negatives are not hard but by `neg_mode` of
    data.yaml.
    """

    margin: float = 0.0
    num_candidate_neg_samples: int = Field(0, ge=0)
    num_hard_neg_samples: int = Field(0, ge=0)
    num_random_neg_samples: int = Field(0, ge=0)


AnySettings = TypeVar("AnySettings", bound=_Settings)


def read_settings(path: Path, kind: type[AnySettings]) -> AnySettings:
    """The settings in a YAML file. Raises ConfigError, which names file and key."""
    plain = load_yaml(path)
    if not isinstance(plain, dict):
        raise ConfigError(f"{path}: expected lines of the form key: value")
    for key in plain:
        if key not in kind.model_fields:
            known = ", ".join(kind.model_fields)
            raise ConfigError(f"{path}: key {key!r} is unknown; expected some of {known}")
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error)}") from None


def train_config(data: DataSettings, train: BceSettings, path: Path) -> TrainConfig:
    """The training that the two files describe, with the report's fixed choices.

    These are Adam, factors ~ N(0, 0.01^2), uniform negatives drawn once, and hard ones drawn again
    for every batch. path: the training file, for errors.
    """
    flat: dict[str, Any] = {
        "optimizer": "adam",
        "redraw": "once",
        "patience": data.patience,
        "negatives_exclude": data.negatives_exclude,
    }
    flat |= train.model_dump(include={"latent_factors", "epochs", "lr", "batch_size"})
    flat["weight_decay"] = train.weight_decay
    flat["loss"] = "bce"
    flat["neg_mode"] = data.neg_mode
    if isinstance(train, BprSettings):
        flat |= {"loss": "bpr", "margin": train.margin}
        if train.num_candidate_neg_samples:
            flat["neg_mode"] = "hard"
            for key in ("candidate", "hard", "random"):
                name = f"num_{key}_neg_samples"
                flat[name] = getattr(train, name)
    if flat["neg_mode"] == "fixed":
        flat["neg_sample_num"] = data.neg_sample_num
    try:
        return TrainConfig.from_flat(flat)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def torch_device(device: str, path: Path) -> str:
    """torch's name of the device. path: the training file, for errors. Raises ConfigError for gpu
    if there is none.
    """
    if device == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise ConfigError(f"{path}: device is gpu, but torch finds none here: expected cpu")
    return "cuda"
