"""What a saved model needs beside its weights to speak in the ids of the user's file."""

from __future__ import annotations

import json
from pathlib import Path

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
