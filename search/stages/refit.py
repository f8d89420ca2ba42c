"""The model that is handed over: trained on everything, saved, and the submission it writes."""

from __future__ import annotations

import json
import time
from pathlib import Path

from recsys import submission
from recsys.data import Dataset
from recsys.data.lists import BLANK
from recsys.evaluation import top_items
from recsys.interactions import CSR
from recsys.models import Model, ModelConfig, model_of
from recsys.models.saved import CONFIG, weights_of
from search.record.folder import write_atomic
from search.record.handed import MODEL, SUBMISSION, digest, file_digest
from search.record.result import Handed, Refitted, blended
from search.stages.blend import assembled, train_blend
from search.stages.catalogue import save_catalogue
from search.stages.context import Stages
from search.stages.orders import by_order
from search.stages.winner import race_decided, refit_task, winner_training
from search.stages.work import Work, alone


def save_model(folder: Path, weights: bytes, config: ModelConfig) -> None:
    """`weights` (of `Model.to_bytes`) and `config.json`, flat, for `recsys.models.saved`.

    Weights of another model (the winner before an extension) are removed first.
    """
    folder.mkdir(exist_ok=True)
    file = folder / model_of(config).weights_file
    before = weights_of(folder)
    if before not in (None, file):
        before.unlink()
    write_atomic(file, weights)
    write_atomic(folder / CONFIG, config_text(config))


def config_text(config: ModelConfig) -> str:
    """What `config.json` holds."""
    return json.dumps(config.to_flat(), indent=2) + "\n"


def submit(
    path: Path, model: Model, dataset: Dataset, everything: CSR, k: int, separator: str = BLANK
) -> int:
    """Write the k best unseen items of whom the submission is for; read it back and check it.

    Returns the number of rows. Users and items keep their original ids.
    """
    return submission.submit(
        path,
        dataset.interactions,
        everything,
        k,
        lambda users: top_items(model, everything, users, k),
        receivers=dataset.receivers,
        separator=separator,
    )


def refit(run: Stages) -> Refitted:
    """The winner, or the proven blend, on everything; the submission, read back and checked.

    The submission is that of the model as the worker returned it, whatever lies in the folder.
    """
    everything = run.split.full()
    started = time.monotonic()
    winner, blend = winner_training(run, "refit"), blended(run.state)
    config: ModelConfig = winner.config
    if blend is not None and blend.handed_over:
        config, members = train_blend(run, blend, "refit", everything)
        weights = assembled(config, members, everything).to_bytes()
    else:
        weights = alone(run, Work(refit_task, (winner, everything), (winner.config,))).weights
    model_dir, submission_file = run.folder.path / MODEL, run.folder.path / SUBMISSION
    submission_file.unlink(missing_ok=True)  # that of another model must not stand beside this one
    save_model(model_dir, weights, config)
    save_catalogue(model_dir, run.dataset.interactions, everything)
    separator, k = run.settings.submission_sep, run.spec.k
    model = model_of(config).from_bytes(weights)
    rows = submit(submission_file, model, run.dataset, everything, k, separator)
    race = race_decided(run)
    seconds = time.monotonic() - started
    return Refitted(
        rows=rows,
        k=k,
        separator=separator,
        epochs=race.epochs,
        seconds=seconds,
        orders=by_order(run),
        handed=Handed(
            trial=race.winner,
            weights=digest(weights),
            config=digest(config_text(config)),
            submission=file_digest(submission_file),
        ),
    )
