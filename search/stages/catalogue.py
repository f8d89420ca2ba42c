"""What a saved model needs besides its weights to use the ids of the user's file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR, Interactions
from search.record.folder import save_arrays, write_atomic

IDS, SEEN = "ids.json", "seen.npz"


def save_catalogue(model_dir: Path, interactions: Interactions, seen: CSR) -> None:
    """Write the original ids and the items each user has (not to be recommended) to `model_dir`.

    `ids.json`: users (U,) and items (I,) in order of internal ids, integers or strings;
    `seen.npz`: indptr (U+1,) and indices of `seen`.
    """
    ids = {"users": interactions.user_ids.tolist(), "items": interactions.item_ids.tolist()}
    save_arrays(model_dir / SEEN, indptr=seen.indptr, indices=seen.indices)
    write_atomic(model_dir / IDS, json.dumps(ids, ensure_ascii=False) + "\n")


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The original ids, users (U,) and items (I,), int64 or str as in `Interactions`, and what each
    user has (U x I)."""

    user_ids: NDArray
    item_ids: NDArray
    seen: CSR


def load_catalogue(model_dir: Path) -> Catalogue:
    """What `save_catalogue` wrote."""
    ids = json.loads((model_dir / IDS).read_text(encoding="utf-8"))
    users, items = (_ids(ids[name]) for name in ("users", "items"))
    with np.load(model_dir / SEEN, allow_pickle=False) as arrays:
        return Catalogue(users, items, CSR(arrays["indptr"], arrays["indices"], len(items)))


def _ids(values: list[int] | list[str]) -> NDArray:
    numbers = all(isinstance(value, int) for value in values)
    return np.array(values, np.int64 if numbers else object)
