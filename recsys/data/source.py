"""`load`, the door: from a name or path to a `Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from recsys.data.read import Dataset, load_path
from recsys.errors import InputError


def load(
    source: str | Path,
    *,
    min_rating: float | None = None,
    cache_dir: Path | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    notify: Callable[[str], None] | None = None,
    values: bool = False,
) -> Dataset:
    """Read a named data set (`ml-100k`, `ml-1m`, `demo`) or your own file, folder or zip.

    A name wins over a path; `./demo` is the path. Formats are recognised by content (`formats/`).

    min_rating: only rows with at least this rating are positives (default: 4 for the MovieLens
    sets, otherwise no limit). cache_dir: where named sets are kept. columns: the file's column
    names by role (user, item, rating, timestamp). seed: of the generated `demo`. notify: called
    with a line before anything that takes time (downloads). values: whether pairs get values for
    models with a `weight`: their rating, or how often they occur; where the data have neither,
    `Interactions.unvalued` says so.

    Ids become int64 if every one is a decimal in its range, otherwise strings as in the file;
    internal ids follow their order. Of duplicate pairs the earliest is kept.

    Raises InputError for anything that cannot be used.
    """
    from recsys.data import named

    if min_rating is not None and not np.isfinite(min_rating):
        raise InputError(f"min_rating is {min_rating}: expected a finite number")
    if isinstance(source, str) and source in named.SETS:
        if columns:
            raise InputError(f"columns: the named set {source} needs none")
        return named.load_named(
            source, min_rating, cache_dir, seed, notify or (lambda _: None), values
        )
    if str(source) == "":
        raise InputError("data is empty: expected a named set or a path")
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # a folder may literally have a name such as "~nobody"
        path = Path(source)
    return load_path(path, min_rating=min_rating, columns=columns, values=values)
