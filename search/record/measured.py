"""The run's metric for every user on the test items, and these items: kept so that two runs can be
compared user by user without another training.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR
from search.record.folder import save_arrays

TEST_VALUES = "test.npz"


@dataclass(frozen=True, eq=False)
class UserValues:
    """The test value of every user, by the model that is handed over.

    users: int32 (V,), internal ids of the users with test items. values: float64 (V,).
    """

    users: NDArray[np.int32]
    values: NDArray[np.float64]


def save_test_values(run_dir: Path, found: UserValues, held: CSR | None = None) -> None:
    """Write `test.npz` of a run. held: the test items, U x I; None: they are not kept. Raises
    StorageError.
    """
    items: dict[str, NDArray] = (
        {} if held is None else {"indptr": held.indptr, "items": held.indices}
    )
    save_arrays(run_dir / TEST_VALUES, users=found.users, values=found.values, **items)


def load_test_values(run_dir: Path) -> UserValues | None:
    """The values that `save_test_values` wrote; None where the file is damaged, or missing as in
    runs of earlier versions.
    """
    found = _arrays(run_dir, "users", "values")
    return None if found is None else UserValues(found[0], found[1])


def load_test_items(run_dir: Path, n_items: int) -> CSR | None:
    """The test items that `save_test_values` wrote, U x I; None where the file is damaged, or has
    none as in runs of earlier versions.
    """
    found = _arrays(run_dir, "indptr", "items")
    return None if found is None else CSR(found[0], found[1], n_items)


def _arrays(run_dir: Path, *names: str) -> list[NDArray] | None:
    try:
        with (
            (run_dir / TEST_VALUES).open("rb") as file,  # NumPy does not close a damaged file
            np.load(file, allow_pickle=False) as arrays,
        ):
            return [arrays[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
