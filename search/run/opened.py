"""The only door to a run's data: read, divided, and checked to be the same as when the run began.

Resuming, extending and exporting a trial all need the data again. A file with other content under
the same name would give results, and a submission, for other data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recsys.data import SETS, Dataset, load
from recsys.errors import ConfigError, InputError
from recsys.split import Split, make_split
from search.record.settings import Settings
from search.space.spec import SearchSpec


@dataclass(frozen=True)
class Opened:
    """Data and split of a run, and its settings with the digests of both."""

    dataset: Dataset
    split: Split
    settings: Settings


def absolute(source: str) -> str:
    """A path as an absolute one, since workers start elsewhere; a name stays a name."""
    if source in SETS:
        return source
    try:
        return str(Path(source).expanduser().resolve(strict=True))
    except (OSError, RuntimeError, ValueError):
        return source  # reading it will raise an error that says what is wrong


def given(source: str) -> str:
    """The absolute path, or the name, that --data gave for an existing run.

    Raises InputError where nothing is there: `read_data` would ask for the option just given.
    """
    if source not in SETS and not _exists(source):
        raise InputError(f"--data {source}: no such file or folder: expected where the data is now")
    return absolute(source)


def read_data(
    settings: Settings,
    run: str | None,
    notify: Callable[[str], None],
    *,
    values: bool = False,
) -> Dataset:
    """The data that `settings` name. Raises InputError, which for an existing run says what to do.

    run: its name; None for a new one. notify: called with notes for the user. values: as in `load`.
    """
    if run is not None and settings.data not in SETS and not _exists(settings.data):
        raise InputError(
            f"{settings.data}: the data of run {run} is no longer there: "
            "give its new place with --data PATH"
        )
    return load(
        settings.data,
        min_rating=settings.min_rating,
        columns=settings.columns,
        seed=settings.seed,
        notify=notify,
        values=values,
    )


def divide(dataset: Dataset, spec: SearchSpec, settings: Settings, run: str | None) -> Opened:
    """The data and their split. run: the name of a run that is resumed; raises ConfigError where
    its data or split have changed.
    """
    split = make_split(dataset, spec.split, settings.seed)
    now = replace(
        settings,
        data_digest=dataset.interactions.digest(),
        ids_digest=ids_digest(dataset),
        split_digest=split.digest,
        values_digest=dataset.interactions.values_digest(),
    )
    if run is not None:
        for what in ("data", "ids", "split", "values"):
            then, found = (getattr(s, f"{what}_digest") for s in (settings, now))
            # runs of earlier versions have no digest of the ids, and values are read if weighed
            if then not in ("", found):
                raise ConfigError(
                    f"--run {run}: the data has changed since the run began "
                    f"({what} digest {then} then, {found} now, of {settings.data})"
                )
    return Opened(dataset, split, now)


def open_data(
    spec: SearchSpec, settings: Settings, run: str, notify: Callable[[str], None]
) -> Opened:
    """`read_data` and `divide` of an existing run."""
    return divide(read_data(settings, run, notify, values=spec.weighs()), spec, settings, run)


def ids_digest(dataset: Dataset) -> str:
    """16 hex digits that change with any id of a user or an item, and with any user of the
    submission.
    """
    sha = hashlib.sha256()
    interactions = dataset.interactions
    receivers = [] if dataset.receivers is None else [np.array(dataset.receivers.names, object)]
    for ids in (interactions.user_ids, interactions.item_ids, *receivers):
        sha.update(f"{len(ids)} {ids.dtype.kind}\n".encode())
        if ids.dtype.kind == "i":
            sha.update(ids.astype("<i8").tobytes())
        else:
            sha.update("\0".join(map(str, ids)).encode(errors="surrogatepass"))
    return sha.hexdigest()[:16]


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return True  # there, but inaccessible: reading it will say why
