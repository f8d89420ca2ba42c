"""What a saved model needs besides its weights to use the ids of the user's file.

Two files beside the weights, whose names and format are known here alone. `ids.json`: users (U,)
and items (I,) in order of internal ids, integers or strings; `seen.npz`: indptr (U+1,) and indices
of the items each user has.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.interactions import CSR, Interactions
from recsys.safe_files import replace_content

IDS, SEEN = "ids.json", "seen.npz"
# What json, zip and numpy raise for content that is none of theirs.
_STRANGE: tuple[type[Exception], ...] = (
    *(ValueError, LookupError, TypeError, ArithmeticError, AssertionError, NotImplementedError),
    *(EOFError, RecursionError, MemoryError, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The original ids, users (U,) and items (I,), int64 or str as in `Interactions`, and what each
    user has (U x I)."""

    user_ids: NDArray
    item_ids: NDArray
    seen: CSR


def save_catalogue(model_dir: Path, interactions: Interactions, seen: CSR) -> dict[str, bytes]:
    """Write the original ids and the items each user has (not to be recommended) to `model_dir`,
    each file whole or not at all. Returns what was written, by the name of its file (`IDS` and
    `SEEN`). Raises `OSError`.
    """
    ids = {"users": interactions.user_ids.tolist(), "items": interactions.item_ids.tolist()}
    arrays = io.BytesIO()
    np.savez_compressed(arrays, indptr=seen.indptr, indices=seen.indices)
    # An id that is no UTF-8 reads \udcff here, which JSON understands.
    text = (json.dumps(ids, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    files = {SEEN: arrays.getvalue(), IDS: text}
    model_dir.mkdir(exist_ok=True)
    for name, content in files.items():
        replace_content(model_dir / name, content)
    return files


def load_catalogue(model_dir: Path) -> Catalogue:
    """What `save_catalogue` wrote. Raises `InputError` for files that it did not write."""
    users, items = load_ids(model_dir)
    indptr, indices = _seen(model_dir)
    with _read(model_dir / SEEN):
        seen = CSR(indptr, indices, len(items))
        if seen.n_users != len(users):
            raise ValueError(f"{seen.n_users:,} users, and {len(users):,} in {IDS}")
        if (np.diff(indptr) < 0).any() or not ((indices >= 0) & (indices < len(items))).all():
            raise ValueError(f"items that are not in {IDS}")
    return Catalogue(users, items, seen)


def load_ids(model_dir: Path) -> tuple[NDArray, NDArray]:
    """The original ids alone, of users (U,) and of items (I,). Raises `InputError`."""
    with _read(model_dir / IDS):
        ids = json.loads((model_dir / IDS).read_text(encoding="utf-8"))
        return _ids(ids["users"]), _ids(ids["items"])


def load_counts(model_dir: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Items of each user (U,), and users of each item up to the last that somebody has.

    Reads no ids. Raises `InputError`.
    """
    indptr, indices = _seen(model_dir)
    with _read(model_dir / SEEN):
        return np.diff(indptr), np.bincount(indices)


def has_catalogue(model_dir: Path) -> bool:
    """Whether both files are there."""
    return all((model_dir / name).is_file() for name in (IDS, SEEN))


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Whatever a file raises that is missing, or not what was written, as one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from None
    except _STRANGE as error:
        raise InputError(f"{path} is not as it was saved with the model ({error!r:.80})") from None


def _seen(model_dir: Path) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    with (
        _read(model_dir / SEEN),
        (model_dir / SEEN).open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        return arrays["indptr"], arrays["indices"]


def _ids(values: list[int] | list[str]) -> NDArray:
    if not all(isinstance(value, int | str) for value in values):
        raise TypeError("expected a list of numbers or words")
    numbers = all(isinstance(value, int) for value in values)
    return np.array(values, np.int64 if numbers else object)
