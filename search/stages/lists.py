"""The lists of the finalists for users of each fresh split, kept until the blend is decided."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from recsys.models.blend import TopLists
from search.record.folder import save_arrays


def lists_file(folder: Path, config_id: str, replicate: int) -> Path:
    """Where the lists of one finalist on one fresh split are kept until the blend is decided."""
    return folder / "race" / f"{config_id}-{replicate}-votes.npz"


def drop_lists(folder: Path) -> None:
    """Delete all lists of a run: they are large, and of no use once its blend is decided."""
    for path in lists_of(folder):
        with suppress(OSError):
            path.unlink()


def lists_of(folder: Path) -> list[Path]:
    """The files with lists of a run, those of earlier versions, for other users, among them."""
    race = folder / "race"
    return sorted([*race.glob("*-votes.npz"), *race.glob("*-lists.npz")])


def save_lists(path: Path, lists: TopLists) -> None:
    """Write the lists of one finalist on one split, the whole file or none."""
    save_arrays(path, items=lists.items, scores=lists.scores)


def load_lists(path: Path) -> TopLists:
    """What `save_lists` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return TopLists(stored["items"], stored["scores"])
