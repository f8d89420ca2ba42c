"""What a run hands over: a model with its catalogue, and the submission that this model writes."""

from __future__ import annotations

from pathlib import Path

from recsys import submission
from recsys.data import Dataset
from recsys.data.lists import BLANK
from recsys.evaluation import top_items
from recsys.interactions import CSR
from recsys.models import Model, ModelConfig
from recsys.models.catalogue import IDS, SEEN, save_catalogue
from recsys.models.saved import config_text, save_model
from search.record.handed import MODEL, SUBMISSION, digest, file_digest
from search.record.journal import StorageError
from search.record.result import Handed


def hand_over(
    run_dir: Path,
    model: Model,
    config: ModelConfig,
    weights: bytes,
    dataset: Dataset,
    everything: CSR,
    *,
    trial: str,
    k: int,
    separator: str,
) -> tuple[int, Handed]:
    """Write `model/` and the submission, which is read back and checked.

    weights: from `model.to_bytes()`. everything: U x I, what it was trained on. trial: the id of
    the winner. k: items per user of the submission. The submission and the digests are those of the
    model given, whatever lies in the folder. Returns the number of rows of the submission, and the
    digests that `disagreement` compares the files with. Raises StorageError where a file cannot be
    written.
    """
    model_dir, submission_file = run_dir / MODEL, run_dir / SUBMISSION
    submission_file.unlink(missing_ok=True)  # another model's must not be left beside this one
    try:
        save_model(model_dir, weights, config)
        catalogue = save_catalogue(model_dir, dataset.interactions, everything)
    except OSError as error:
        raise StorageError.at(model_dir, error) from error
    rows = submit(submission_file, model, dataset, everything, k, separator)
    return rows, Handed(
        trial=trial,
        weights=digest(weights),
        config=digest(config_text(config)),
        ids=digest(catalogue[IDS]),
        seen=digest(catalogue[SEEN]),
        submission=file_digest(submission_file),
    )


def submit(
    path: Path, model: Model, dataset: Dataset, everything: CSR, k: int, separator: str = BLANK
) -> int:
    """Write the k best unseen items of each user of the submission; read it back and check it.

    everything: U x I, the items that each user has seen. Returns the number of rows. Users and
    items have their original ids.
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
