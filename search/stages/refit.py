"""The refit: the winner, or the blend, trained on everything and handed over."""

from __future__ import annotations

import time

from recsys.models import ModelConfig, model_of
from recsys.models.blend import Blend
from search.record.result import Refitted, blended
from search.stages.blend import train_blend
from search.stages.context import Stages
from search.stages.handover import hand_over
from search.stages.orders import by_order
from search.stages.winner import race_decided, refit_task, winner_training
from search.stages.work import Work, alone


def refit(run: Stages) -> Refitted:
    """Train the winner, or the proven blend, on all data; hand it over with its submission.

    The submission is made by the model that the worker returned, whatever lies in the folder.
    """
    everything = run.split.full()
    started = time.monotonic()
    winner, blend = winner_training(run, "refit"), blended(run.state)
    config: ModelConfig = winner.config
    if blend is not None and blend.handed_over:
        device = None
        config, members, devices = train_blend(run, blend, "refit", everything)
        weights = Blend.packed(config, members, everything)  # the members' own are gone then
    else:
        trained = alone(run, Work(refit_task, (winner, everything), (winner.config,)))
        weights, device, devices = trained.weights, run.trained_on(trained.device), {}
    race, separator, k = race_decided(run), run.settings.submission_sep, run.spec.k
    rows, handed = hand_over(
        run.folder.path,
        model_of(config).from_bytes(weights),
        config,
        weights,
        run.dataset,
        everything,
        trial=race.winner,
        k=k,
        separator=separator,
    )
    seconds = time.monotonic() - started
    orders = by_order(run)
    return Refitted(
        rows=rows,
        k=k,
        separator=separator,
        epochs=race.epochs,
        seconds=seconds,
        device=device,
        devices=devices or None,
        orders=None if isinstance(orders, str) else orders,
        orders_skipped=orders if isinstance(orders, str) else None,
        handed=handed,
    )
