"""Ratings: which rows are positives, and what there is to say about the rest."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.cells import BadCellError, finite, numbers_of
from recsys.data.stream import shown

RATED = "whatever their rating"  # in the note on data with ratings and no --min-rating


class RatingColumn:
    """Ratings of any number of batches, of which only facts are kept.

    limit: the smallest that makes a row a positive; None: all rows are, and a column that holds
    no numbers is left out with a note, since nothing asks for it.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._name = "rating"
        self._read = self._kept = self._low = 0
        self._three = True  # no other values than -1, 0 and 1
        self._high = False  # a 1 among them
        self._failed = False
        self.best = -np.inf
        self.notes: list[str] = []

    def begin(self, name: str) -> None:
        """The ratings that follow are those of a file's column `name`."""
        self._name = name

    def add(self, cells: pa.Array) -> NDArray[np.bool_] | None:
        """Which rows are positives, bool (n,); None: all. `BadCellError` only with a limit."""
        try:
            values = _numbers(cells)
        except BadCellError as error:
            if self._limit is not None:
                raise
            if not self._failed:
                there = error.row is not None and cells[error.row].is_valid
                cell = f"{shown(str(cells[error.row]))} " if there else "a rating "
                self.notes.append(f"column {self._name} is not used: {cell}{error.what}")
            self._failed = True
            return None
        self.best = max(self.best, float(values.max(initial=-np.inf)))
        self._read += len(values)
        self._low += int((values <= 0).sum())
        if self._three:
            self._three = bool(np.isin(values, (-1.0, 0.0, 1.0)).all())
            self._high = self._high or bool((values == 1).any())
        if self._limit is None:
            return None
        keep = values >= self._limit
        self._kept += int(keep.sum())
        return keep

    def finish(self) -> list[str]:
        """What the user should know."""
        if self._failed or not self._read:
            return self.notes
        if self._limit is not None:
            return [
                *self.notes,
                f"{self._kept:,} of {self._read:,} rows have a rating of at least {self._limit:g}",
            ]
        said = f"all {self._read:,} rows count as positives, {RATED}"
        if self._low:
            limit = " 1" if self._three and self._high else ""
            said += (
                f"; {self._low:,} of them are rated 0 or less (--min-rating{limit} leaves such out)"
            )
        return [*self.notes, said]


def _numbers(cells: pa.Array) -> NDArray[np.float64]:
    """`cells` as float64; `BadCellError` for what is missing or no finite number."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    kind = cells.type
    if cells.null_count:
        at = pc.index(pc.is_null(cells), pa.scalar(True)).as_py()
        raise BadCellError("rating", at, "is missing (null)")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = numbers_of(cells)
        if values is None:
            texts = pc.ascii_trim_whitespace(cells)
            number = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
            right = pc.match_substring_regex(texts, number).to_numpy(zero_copy_only=False)
            at = None if right.all() else int(right.argmin())
            raise BadCellError("rating", at, "is not a number")
    elif pa.types.is_boolean(kind):
        values = cells.cast(pa.int8()).to_numpy(zero_copy_only=False).astype(np.float64)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    else:
        raise BadCellError("rating", None, f"has type {kind}: expected numbers")
    return finite("rating", values)
