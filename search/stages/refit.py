"""The refit: the winner, or the blend, trained on everything and handed over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from recsys.interactions import CSR
from recsys.models import ModelConfig, model_of
from recsys.models.blend import Blend
from search.record.measured import hand_test_values
from search.record.result import Blended, Refitted, blended, tested
from search.stages.blend import train_blend
from search.stages.context import Stages, TaskFailedError
from search.stages.handover import hand_over
from search.stages.orders import by_order
from search.stages.winner import race_decided, refit_task, winner_training
from search.stages.work import Work, alone
from search.summary import lost_words


@dataclass(frozen=True, eq=False)
class Made:
    """A model trained on everything, as bytes. device, devices: as in `Refitted`."""

    config: ModelConfig
    weights: bytes
    device: str | None = None
    devices: Mapping[str, str] | None = None


def refit(run: Stages) -> Refitted:
    """Train the winner, or the proven blend, on all data; hand it over with its submission.

    A blend with a member that cannot be trained leaves its place to the winner alone. The
    submission is made by the model that the worker returned, whatever lies in the folder. Raises
    TaskFailedError where the winner's training failed.
    """
    everything = run.split.full()
    started = time.monotonic()
    blend, test = blended(run.state), tested(run.state)
    made_blend, lost = None, None
    if blend is not None and blend.handed_over:
        try:
            made_blend = _blend(run, blend, everything)
        except TaskFailedError as failure:
            lost = failure.why
            words = lost_words(lost, tested=test is not None and test.blend is not None)
            run.display.note(f"the winner alone is handed over: {words}")
    made = made_blend or _winner(run, everything)
    race, separator, k = race_decided(run), run.settings.submission_sep, run.spec.k
    rows, handed = hand_over(
        run.folder.path,
        model_of(made.config).from_bytes(made.weights),
        made.config,
        made.weights,
        run.dataset,
        everything,
        trial=race.winner,
        k=k,
        separator=separator,
    )
    seconds = time.monotonic() - started
    orders = by_order(run)
    if blend is not None and blend.handed_over:
        hand_test_values(run.folder.path, "winner" if made_blend is None else "blend")
    return Refitted(
        rows=rows,
        k=k,
        separator=separator,
        epochs=race.epochs,
        seconds=seconds,
        device=made.device,
        devices=made.devices or None,
        orders=None if isinstance(orders, str) else orders,
        orders_skipped=orders if isinstance(orders, str) else None,
        handed=handed,
        blend_failed=lost,
    )


def _winner(run: Stages, everything: CSR) -> Made:
    """The winner, trained on everything (U x I)."""
    winner = winner_training(run, "refit")
    trained = alone(run, Work(refit_task, (winner, everything), (winner.config,)))
    return Made(winner.config, trained.weights, run.trained_on(trained.device))


def _blend(run: Stages, blend: Blended, everything: CSR) -> Made:
    """The blend, its members trained on everything. Raises TaskFailedError where one can't be."""
    config, members, devices = train_blend(run, blend, "refit", everything)
    weights = Blend.packed(config, members, everything)  # the members' own are gone then
    return Made(config, weights, devices=devices)
