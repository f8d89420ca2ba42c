"""A factorization as vectors on disk, for a nearest-neighbour index.

The files are `users.npy` (U, d) and `items.npy` (I, d), float32, and `users.parquet` and
`items.parquet` with the original id and the vector of each row, in the same order. The inner
product of a user's and an item's row is the model's score: a bias of items is one more dimension,
which is 1 for every user.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.scoring import Vectors


def folded(vectors: Vectors) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Users (U, d) and items (I, d), with the bias as one of the dimensions."""
    if vectors.bias is None:
        return vectors.users, vectors.items
    ones = np.ones((len(vectors.users), 1), np.float32)
    return np.hstack([vectors.users, ones]), np.hstack([vectors.items, vectors.bias[:, None]])


def write_vectors(folder: Path, vectors: Vectors, user_ids: NDArray, item_ids: NDArray) -> int:
    """Write `folder`, which appears complete or not at all; returns the number of dimensions.

    An empty `folder` may exist already. Raises InputError where it cannot be written.
    """
    try:
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name[:80]}-"))
        try:
            for name, rows, ids in zip(
                ("users", "items"), folded(vectors), (user_ids, item_ids), strict=True
            ):
                np.save(made / f"{name}.npy", np.ascontiguousarray(rows, np.float32))
                kind = pa.list_(pa.float32(), rows.shape[1])
                column = pa.FixedSizeListArray.from_arrays(
                    pa.array(np.ascontiguousarray(rows, np.float32).ravel()), type=kind
                )
                table = pa.table({"id": pa.array(ids.tolist()), "vector": column})
                pq.write_table(table, made / f"{name}.parquet")
            made.chmod(0o755)
            made.replace(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
    return folded(vectors)[0].shape[1]
