"""What a saved model needs besides its weights to use the ids of the user's file.

Two files beside the weights, whose names and format are known here alone. `ids.json`: users (U,)
and items (I,) in order of internal ids, integers or strings; `seen.npz`: indptr (U+1,) and indices
of the items each user has.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR, Interactions
from recsys.safe_files import replace_content

_IDS, _SEEN = "ids.json", "seen.npz"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The original ids, users (U,) and items (I,), int64 or str as in `Interactions`, and what each
    user has (U x I)."""

    user_ids: NDArray
    item_ids: NDArray
    seen: CSR


def save_catalogue(model_dir: Path, interactions: Interactions, seen: CSR) -> None:
    """Write the original ids and the items each user has (not to be recommended) to `model_dir`,
    each file whole or not at all. Raises `OSError`.
    """
    ids = {"users": interactions.user_ids.tolist(), "items": interactions.item_ids.tolist()}
    arrays = io.BytesIO()
    np.savez_compressed(arrays, indptr=seen.indptr, indices=seen.indices)
    # An id that is no UTF-8 reads \udcff here, which JSON understands.
    text = (json.dumps(ids, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    model_dir.mkdir(exist_ok=True)
    replace_content(model_dir / _SEEN, arrays.getvalue())
    replace_content(model_dir / _IDS, text)


def load_catalogue(model_dir: Path) -> Catalogue:
    """What `save_catalogue` wrote."""
    users, items = load_ids(model_dir)
    indptr, indices = _seen(model_dir)
    return Catalogue(users, items, CSR(indptr, indices, len(items)))


def load_ids(model_dir: Path) -> tuple[NDArray, NDArray]:
    """The original ids alone, of users (U,) and of items (I,)."""
    ids = json.loads((model_dir / _IDS).read_text(encoding="utf-8"))
    return _ids(ids["users"]), _ids(ids["items"])


def load_counts(model_dir: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Items of each user (U,), and users of each item up to the last that somebody has.

    Reads no ids. Raises `OSError`, or what numpy raises for a file that holds no such arrays.
    """
    indptr, indices = _seen(model_dir)
    return np.diff(indptr), np.bincount(indices)


def has_catalogue(model_dir: Path) -> bool:
    """Whether both files are there."""
    return all((model_dir / name).is_file() for name in (_IDS, _SEEN))


def _seen(model_dir: Path) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    with np.load(model_dir / _SEEN, allow_pickle=False) as arrays:
        return arrays["indptr"], arrays["indices"]


def _ids(values: list[int] | list[str]) -> NDArray:
    numbers = all(isinstance(value, int) for value in values)
    return np.array(values, np.int64 if numbers else object)
