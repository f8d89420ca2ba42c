"""Whether `model/` and `submission.csv` of a run are those that its refit made, by digest.

The refit leaves the digests in the journal. Whoever uses the files compares them first, so that
files of another winner (from before an extension, or put there by someone) are never taken for
the answer of this run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from recsys.errors import InputError
from recsys.models.catalogue import IDS, SEEN, load_catalogue
from recsys.models.saved import CONFIG, is_whole, weights_of
from search.record.result import Handed, decided, refitted
from search.record.state import RunState

MODEL, SUBMISSION = "model", "submission.csv"


def digest(content: bytes | str) -> str:
    """SHA-256 of `content`, in hexadecimal digits."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_digest(folder: Path) -> str | None:
    """The digest of the weights in a run's model folder; None where it has no complete model."""
    weights = weights_of(folder)
    return file_digest(weights) if weights is not None and is_whole(folder) else None


def handed_over(state: RunState) -> Handed | None:
    """The digests of what the refit made; None before a refit, and in runs of earlier versions."""
    found = refitted(state)
    return None if found is None else found.handed


def disagreement(run_dir: Path, state: RunState) -> str | None:
    """Which file in the run folder is not the one that the refit made, in one line.

    None where all of them are, and where the journal has no digests.
    """
    if (handed := handed_over(state)) is None:
        return None
    race = decided(state)
    if race is None or race.winner != handed.trial:
        winner = "not decided" if race is None else race.winner
        return f"{run_dir / MODEL} is the model of {handed.trial}, but the winner is {winner}"
    model = run_dir / MODEL
    if (weights := weights_of(model)) is None:
        return f"{model} does not hold the weights of one model: this run's refit put them there"
    for path, expected in (
        (weights, handed.weights),
        (model / CONFIG, handed.config),
        (model / IDS, handed.ids),
        (model / SEEN, handed.seen),
        (run_dir / SUBMISSION, handed.submission),
    ):
        if not expected:
            continue
        try:
            found = file_digest(path)
        except OSError as error:
            return f"{path} cannot be read ({error.strerror}): it was made by this run's refit"
        if found != expected:
            return f"{path} is not the file that this run's refit made"
    if not (handed.ids and handed.seen):  # by an earlier version: at least it must be a catalogue
        try:
            load_catalogue(model)
        except InputError as error:
            return str(error)
    return None
