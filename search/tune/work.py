"""What a training costs, in operations: roughly, and the same on every machine."""

from __future__ import annotations

from recsys.models import ModelConfig, model_of
from recsys.models.base import Size

SCORED = 64  # latent factors that the roughest estimate of an evaluation assumes


def epoch_work(config: ModelConfig, size: Size) -> float:
    """Operations of one epoch."""
    return model_of(config).cost(config, size).work / (config.most_epochs or 1)


def work_and_scores(config: ModelConfig, size: Size) -> float:
    """Operations of one epoch and of computing the scores to evaluate it, roughly."""
    return epoch_work(config, size) + 2.0 * size.users * size.items * SCORED


def whole_work(config: ModelConfig, size: Size) -> float:
    """Operations of a whole training with an evaluation after each epoch, roughly."""
    return (config.most_epochs or 1) * work_and_scores(config, size)
