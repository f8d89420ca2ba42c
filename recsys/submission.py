"""Writing `submission.csv` in the report's format, and reading it back to check it.

Header `UserId,ItemId`, one row per user, the items best first and separated by blanks, original
ids. Cells are quoted as CSV demands (a comma or quote in an id). Ids with line breaks, and item
ids with any blank, cannot be told apart in this format and are refused.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.interactions import CSR, Interactions

HEADER = ("UserId", "ItemId")


class SubmissionError(InputError):
    """A submission that is not what it should be; names the row."""


def write_submission(path: str | Path, interactions: Interactions, top_items_UK: NDArray) -> None:
    """Write `top_items_UK`, integers (U, K): internal ids, best first, -1 where there is none.

    Atomic: the file appears whole or not at all. `InputError` for ids that cannot be written and
    for a place that cannot be written to.
    """
    path = Path(path)
    assert top_items_UK.shape[0] == interactions.n_users
    users = _texts(interactions.user_ids)
    items = _texts(interactions.item_ids)
    _check_ids("user", users, ("\n", "\r"))
    _check_ids("item", items, None)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            for user, row in zip(users, top_items_UK.tolist(), strict=True):
                writer.writerow((user, " ".join([items[i] for i in row if i >= 0])))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def check_submission(
    path: str | Path, interactions: Interactions, k: int, *, seen: CSR | None = None
) -> None:
    """Read the file back: one row per user, k distinct unseen items each (all, if fewer).

    seen: what counts as seen, by default `interactions.csr`; give the split's `full()` where a
    ready test set is not part of `interactions`. Raises `SubmissionError` with the row.
    """
    seen = interactions.csr if seen is None else seen
    rows = _read(Path(path))
    users, items = _texts(interactions.user_ids), _texts(interactions.item_ids)
    position = {name: n for n, name in enumerate(items)}
    if len(rows) != len(users):
        raise SubmissionError(
            f"{path}: has {len(rows)} rows: expected one for each of {len(users)} users"
        )
    for u, (row, user) in enumerate(zip(rows, users, strict=True)):
        where = f"{path}: row {u + 2}"
        if len(row) != 2 or row[0] != user:
            raise SubmissionError(f"{where}: expected user {user!r} and a list of items")
        names = row[1].split(" ") if row[1] else []
        unknown = [name for name in names if name not in position]
        if unknown:
            raise SubmissionError(f"{where}: item {unknown[0]!r} is not in the data")
        expected = min(k, seen.n_items - len(seen.row(u)))
        codes = np.array([position[name] for name in names], np.int64)
        if len(np.unique(codes)) != len(codes):
            raise SubmissionError(f"{where}: an item comes twice")
        if len(codes) != expected:
            raise SubmissionError(f"{where}: has {len(codes)} items: expected {expected}")
        again = np.intersect1d(codes, seen.row(u))
        if len(again):
            raise SubmissionError(f"{where}: item {items[again[0]]!r} was seen by the user")


def _read(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SubmissionError(f"{path}: cannot be read back: {error}") from None
    if not rows or tuple(rows[0]) != HEADER:
        raise SubmissionError(f"{path}: row 1: expected the header {','.join(HEADER)}")
    return rows[1:]


def _texts(ids: NDArray) -> list[str]:
    return [str(value) for value in ids.tolist()]


def _check_ids(role: str, names: Sequence[str], marks: Sequence[str] | None) -> None:
    """`marks` None: any blank is one too many."""
    for name in names:
        bad = not name or (
            name.split() != [name] if marks is None else any(mark in name for mark in marks)
        )
        if bad:
            what = "no blanks" if marks is None else "no line breaks"
            raise InputError(
                f"{role} id {name!r} cannot be written to a submission: expected {what}"
            )
