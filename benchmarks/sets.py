"""The data of the benchmarks, as files that contenders of any environment can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys.data import load, planted
from recsys.interactions import CSR

SETS = {
    "ml-100k": "MovieLens-100K, ratings of at least 4",
    "gowalla": "the training part of Gowalla",
    "small": "generated, 1,000 x 1,000, about 100 k pairs",
    "large": "generated, 100,000 x 100,000, about 10 M pairs",
}


def write(name: str, folder: Path, gowalla: Path) -> Path:
    """The set as an .npz of indptr int64 (U+1,), indices int32 (E,) and n_items."""
    path = folder / f"{name}.npz"
    if not path.exists():
        csr = _read(name, gowalla)
        np.savez(path, indptr=csr.indptr, indices=csr.indices, n_items=csr.n_items)
    return path


def _read(name: str, gowalla: Path) -> CSR:
    match name:
        case "ml-100k":
            return load("ml-100k", min_rating=4).interactions.csr
        case "gowalla":
            return load(gowalla).interactions.csr
        case "small":
            return planted(1_000, 1_000, 100_000, rng=np.random.default_rng(0)).csr
        case "large":
            return planted(100_000, 100_000, 10_000_000, rng=np.random.default_rng(0)).csr
    raise AssertionError(name)
