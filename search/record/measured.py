"""The run's metric for every user on the test items, kept so that two runs can be compared user by
user without another training.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.record.folder import save_arrays

TEST_VALUES = "test.npz"


@dataclass(frozen=True, eq=False)
class UserValues:
    """The test value of every user, by the model that is handed over.

    users: int32 (V,), internal ids of the users with test items. values: float64 (V,).
    """

    users: NDArray[np.int32]
    values: NDArray[np.float64]


def save_test_values(run_dir: Path, found: UserValues) -> None:
    """Write `test.npz` of a run. Raises StorageError."""
    save_arrays(run_dir / TEST_VALUES, users=found.users, values=found.values)


def load_test_values(run_dir: Path) -> UserValues | None:
    """What `save_test_values` wrote; None where it is damaged, or missing as in runs of earlier
    versions.
    """
    try:
        with (
            (run_dir / TEST_VALUES).open("rb") as file,  # NumPy does not close a damaged file
            np.load(file, allow_pickle=False) as arrays,
        ):
            return UserValues(arrays["users"], arrays["values"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
