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
from recsys.models.saved import CONFIG, load_model, weights_of
from search.record.folder import write_atomic
from search.record.result import Refitted, blended
from search.stages.blend import assembled, train_blend
from search.stages.catalogue import save_catalogue
from search.stages.context import Stages
from search.stages.winner import alone, learned_epochs, refit_task, winner_training


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
    write_atomic(folder / CONFIG, json.dumps(config.to_flat(), indent=2) + "\n")


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
    """The winner, or the proven blend, on everything; the submission, read back and checked."""
    everything = run.split.full()
    started = time.monotonic()
    blend = blended(run.state)
    if blend is not None and blend.handed_over:
        config, members = train_blend(run, blend, "refit", everything)
        content = assembled(config, members, everything).to_bytes()
        save_model(run.folder.path / "model", content, config)
    else:
        winner = winner_training(run, "refit")
        answer = alone(run, refit_task, winner, everything)
        save_model(run.folder.path / "model", answer.weights, winner.config)
    save_catalogue(run.folder.path / "model", run.dataset.interactions, everything)
    separator, k = run.settings.submission_sep, run.spec.k
    model = load_model(run.folder.path / "model")
    rows = submit(run.folder.path / "submission.csv", model, run.dataset, everything, k, separator)
    return Refitted(
        rows=rows,
        k=k,
        separator=separator,
        epochs=learned_epochs(run),
        seconds=time.monotonic() - started,
    )
