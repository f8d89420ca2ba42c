"""The run's metric for every user on the test items, and these items: kept so that two runs can be
compared user by user without another training.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR
from search.record.folder import save_arrays

TEST_VALUES = "test.npz"
WINNER_VALUES, BLEND_VALUES = "winner", "blend"  # arrays of it where a blend is handed over


@dataclass(frozen=True, eq=False)
class UserValues:
    """The test value of every user, by the model that is handed over.

    users: int32 (V,), internal ids of the users with test items. values: float64 (V,).
    """

    users: NDArray[np.int32]
    values: NDArray[np.float64]


def save_test_values(
    run_dir: Path,
    found: UserValues,
    held: CSR | None = None,
    winner: NDArray[np.float64] | None = None,
) -> None:
    """Write `test.npz` of a run. held: the test items, U x I; None: they are not kept.

    winner: where `found` is of a blend, the winner's values of the same users, float64 (V,), for
    the case that the blend cannot be handed over. Raises StorageError.
    """
    arrays: dict[str, NDArray] = {"users": found.users, "values": found.values}
    if held is not None:
        arrays |= {"indptr": held.indptr, "items": held.indices}
    if winner is not None:
        arrays |= {WINNER_VALUES: winner, BLEND_VALUES: found.values}
    save_arrays(run_dir / TEST_VALUES, **arrays)


def hand_test_values(run_dir: Path, model: Literal["winner", "blend"]) -> None:
    """Make the values in `test.npz` those of what is handed over in the end, where a blend was to
    be. Raises StorageError.

    A file of an earlier version has the blend's alone. Where the winner is handed over it has none
    afterwards, since another model's must not stand for it.
    """
    arrays = _arrays(run_dir)
    if arrays is None:
        return
    before = arrays.pop("values", None)
    if model in arrays:
        arrays["values"] = arrays[model]
    elif model == BLEND_VALUES and before is not None:
        arrays["values"] = before
    after = arrays.get("values")
    if before is None and after is None:
        return
    if before is None or after is None or not np.array_equal(before, after):
        save_arrays(run_dir / TEST_VALUES, **arrays)


def load_test_values(run_dir: Path) -> UserValues | None:
    """The values that `save_test_values` wrote; None where the file is damaged, or missing as in
    runs of earlier versions.
    """
    found = _arrays(run_dir, "users", "values")
    return None if found is None else UserValues(found["users"], found["values"])


def load_test_items(run_dir: Path, n_items: int) -> CSR | None:
    """The test items that `save_test_values` wrote, U x I; None where the file is damaged, or has
    none as in runs of earlier versions.
    """
    found = _arrays(run_dir, "indptr", "items")
    return None if found is None else CSR(found["indptr"], found["items"], n_items)


def _arrays(run_dir: Path, *names: str) -> dict[str, NDArray] | None:
    """Arrays of `test.npz` by name, without names all of them; None where one can't be read."""
    try:
        with (
            (run_dir / TEST_VALUES).open("rb") as file,  # NumPy does not close a damaged file
            np.load(file, allow_pickle=False) as arrays,
        ):
            return {name: arrays[name] for name in names or arrays.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
