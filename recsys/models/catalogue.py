"""What a saved model needs, besides its weights, to work with the ids of the user's file.

These are two files beside the weights; only this module knows their names and format. `ids.json`:
users (U,) and items (I,), integers or strings, in the order of internal ids. `seen.npz`: indptr
int64 (U+1,) and indices int32, the items that each user has, and values float32, if they have any.
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
# What json, zip and numpy raise for content that is not in their format.
_STRANGE: tuple[type[Exception], ...] = (
    *(ValueError, LookupError, TypeError, ArithmeticError, AssertionError, NotImplementedError),
    *(EOFError, RecursionError, MemoryError, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """user_ids (U,), item_ids (I,): the original ids, int64 or str as in `Interactions`. seen: what
    each user has, CSR of U x I.
    """

    user_ids: NDArray
    item_ids: NDArray
    seen: CSR


def save_catalogue(model_dir: Path, interactions: Interactions, seen: CSR) -> dict[str, bytes]:
    """Write the original ids and the items that each user has, which are not to be recommended.

    model_dir: created if its parent exists. interactions: whose ids are written. seen: CSR of
    U x I. Each file is written whole or not at all. Returns the content of the files by name (`IDS`
    and `SEEN`). Raises OSError.
    """
    ids = {"users": interactions.user_ids.tolist(), "items": interactions.item_ids.tolist()}
    arrays = io.BytesIO()
    pairs: dict[str, NDArray] = {"indptr": seen.indptr, "indices": seen.indices}
    if seen.values is not None:
        pairs["values"] = seen.values
    np.savez_compressed(arrays, **pairs)  # type: ignore[arg-type]
    # Bytes of an id that are not UTF-8 are written as \udcff, which JSON understands.
    text = (json.dumps(ids, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    files = {SEEN: arrays.getvalue(), IDS: text}
    model_dir.mkdir(exist_ok=True)
    for name, content in files.items():
        replace_content(model_dir / name, content)
    return files


def load_catalogue(model_dir: Path) -> Catalogue:
    """What `save_catalogue` wrote. Raises InputError for files that are missing or damaged."""
    users, items = load_ids(model_dir)
    indptr, indices, values = _seen(model_dir)
    with _read(model_dir / SEEN):
        seen = CSR(indptr, indices, len(items), values)
        if seen.n_users != len(users):
            raise ValueError(f"{seen.n_users:,} users, and {len(users):,} in {IDS}")
        if (np.diff(indptr) < 0).any() or not ((indices >= 0) & (indices < len(items))).all():
            raise ValueError(f"items that are not in {IDS}")
    return Catalogue(users, items, seen)


def load_ids(model_dir: Path) -> tuple[NDArray, NDArray]:
    """Only the original ids, of users (U,) and of items (I,). Raises InputError likewise."""
    with _read(model_dir / IDS):
        ids = json.loads((model_dir / IDS).read_text(encoding="utf-8"))
        return _ids(ids["users"]), _ids(ids["items"])


def load_counts(model_dir: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many items each user has (U,), and how many users each item has.

    The second array ends with the last item that any user has. The ids are not read. Raises
    InputError for a file that is missing or damaged.
    """
    indptr, indices, _ = _seen(model_dir)
    with _read(model_dir / SEEN):
        return np.diff(indptr), np.bincount(indices)


def has_catalogue(model_dir: Path) -> bool:
    """Whether both files are there."""
    return all((model_dir / name).is_file() for name in (IDS, SEEN))


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Turn whatever a missing or damaged file raises into an InputError of one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from None
    except _STRANGE as error:
        raise InputError(f"{path} is not as it was saved with the model ({error!r:.80})") from None


def _seen(
    model_dir: Path,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32] | None]:
    with (
        _read(model_dir / SEEN),
        (model_dir / SEEN).open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        return arrays["indptr"], arrays["indices"], arrays.get("values")


def _ids(values: list[int] | list[str]) -> NDArray:
    if not all(isinstance(value, int | str) for value in values):
        raise TypeError("expected a list of numbers or words")
    numbers = all(isinstance(value, int) for value in values)
    return np.array(values, np.int64 if numbers else object)
