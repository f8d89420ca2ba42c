"""Ratings: which rows are positives, and what the user should know about the rest.

In text, a column has either numbers (`3.5`, or `3,5` as Excel writes it in many countries) or words
for yes and no (`true`, `t` in PostgreSQL, `yes`), which are 1 and 0.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.cells import NUMERAL, BadCellError, ColumnProblem, finite, numbers_of
from recsys.data.stream import shown

_WORDS = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}
_COMMA = r"[+-]?\d+,\d{1,2}"  # three digits could be thousands
_PLAIN, _AMONG = re.compile(NUMERAL, re.ASCII), re.compile(_COMMA, re.ASCII)

RATED = "whatever their rating"  # in the note on data with ratings but no --min-rating


class RatingColumn:
    """Ratings from any number of batches, of which only facts are kept, unless `keep`.

    limit: the smallest rating of a positive; None: all rows are positives, and a column without
    numbers is left out with a note, since it is not needed. keep: whether the ratings of positives
    are kept, for `values`.
    """

    def __init__(self, limit: float | None, *, keep: bool = False) -> None:
        self._limit = limit
        self._values: list[NDArray[np.float32]] | None = [] if keep else None
        self._file, self._name = 0, "rating"
        self._read = self._kept = self._low = 0
        self._least = np.inf  # the smallest value above 0
        self.problem: ColumnProblem | None = None  # of a column that is left out
        self._worded: bool | None = None  # whether a text column has words for yes and no
        self._best: dict[int, float] = {}  # the highest value of each file

    def begin(self, file: int, name: str) -> None:
        """The ratings that follow are from the column `name` of the file with this number."""
        self._file, self._name = file, name

    def add(self, cells: pa.Array, rows: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Take in a batch; returns which rows are positives, bool (n,), or None for all.

        rows: the place of each in its file, from 0. Raises BadCellError, but only with a limit.
        """
        try:
            values = self._numbers(cells)
        except BadCellError as error:
            if self._limit is not None:
                raise
            at = error.row
            there = at is not None and cells[at].is_valid
            cell = shown(str(cells[at])) if there else "a rating"
            self.leave_out(None if at is None else int(rows[at]), f"{cell} {error.what}")
            return None
        best = float(values.max(initial=-np.inf))
        self._best[self._file] = max(best, self._best.get(self._file, -np.inf))
        self._read += len(values)
        self._low += int((values <= 0).sum())
        self._least = min(self._least, float(values[values > 0].min(initial=np.inf)))
        keep = None if self._limit is None else values >= self._limit
        self._kept += 0 if keep is None else int(keep.sum())
        if self._values is not None:
            with np.errstate(over="ignore"):  # what is too large is infinite, and said to be so
                kept = (values if keep is None else values[keep]).astype(np.float32)
            self._values.append(kept)
        return keep

    def values(self, rows: int) -> NDArray[np.float32] | None:
        """The ratings of the positives, float32 (rows,), if kept and each has one."""
        if not self._values or self.problem is not None:
            return None
        found = np.concatenate(self._values)
        return found if len(found) == rows else None

    def leave_out(self, row: int | None, what: str) -> None:
        """Do without the column, because of `what` is wrong with a row of the file, if known."""
        if self.problem is None:
            what = f"column {self._name} is not used: {what}"
            self.problem = ColumnProblem(self._file, row, what)

    def best(self, files: range) -> float:
        """The highest rating in the files with these numbers; -inf if they have none."""
        return max((self._best.get(n, -np.inf) for n in files), default=-np.inf)

    def finish(self) -> list[str]:
        """What the user should know about a column that is used."""
        if self.problem is not None or not self._read:
            return []
        if self._limit is not None:
            return [
                f"{self._kept:,} of {self._read:,} rows have a rating of at least {self._limit:g}"
            ]
        said = f"all {self._read:,} rows count as positives, {RATED}"
        if self._low:
            said += f"; {self._low:,} of them are rated 0 or less"
            if np.isfinite(self._least):
                short = f"{self._least:g}"
                limit = short if float(short) <= self._least else repr(self._least)
                said += f" (--min-rating {limit} leaves these out)"
        return [said]

    def _numbers(self, cells: pa.Array) -> NDArray[np.float64]:
        """`cells` as float64. Raises BadCellError if one is missing or not a finite number."""
        if pa.types.is_dictionary(cells.type):
            cells = cells.dictionary_decode()
        kind = cells.type
        if cells.null_count:
            at = pc.index(pc.is_null(cells), pa.scalar(True)).as_py()
            raise BadCellError("rating", at, "is missing (null)")
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            values = self._read_texts(cells)
        elif pa.types.is_boolean(kind):
            values = cells.cast(pa.int8()).to_numpy(zero_copy_only=False).astype(np.float64)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            values = pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        else:
            raise BadCellError("rating", None, f"has type {kind}: expected numbers")
        return finite("rating", values)

    def _read_texts(self, cells: pa.Array) -> NDArray[np.float64]:
        if not len(cells):
            return np.empty(0)
        if self._worded is None:
            self._worded = is_word(cells[0].as_py())
        if not self._worded and (values := numbers_of(cells)) is not None:
            return values
        texts = pc.ascii_trim_whitespace(cells)
        if self._worded:
            places = pc.index_in(pc.ascii_lower(texts), value_set=pa.array(list(_WORDS)))
            right, values = pc.is_valid(places), pa.array(list(_WORDS.values())).take(places)
        else:
            right = pc.match_substring_regex(texts, f"^({NUMERAL}|{_COMMA})$")
            values = pc.replace_substring(texts, ",", ".")
        if not pc.all(right).as_py():
            at = pc.index(right, pa.scalar(False)).as_py()
            raise BadCellError("rating", at, f"is not {kind_of_rating(self._worded)}")
        return pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)


def is_word(text: str) -> bool:
    """Whether a rating is a word for yes or no."""
    return text.strip(" \t").lower() in _WORDS


def kind_of_rating(worded: bool) -> str:
    """What messages call the ratings of a column. worded: whether they are words."""
    return "true or false, as in the rows before" if worded else "a number"


def fits(text: str, worded: bool) -> bool:
    """Whether a rating in text fits a column of words for yes and no, or of numbers."""
    if worded:
        return is_word(text)
    text = text.strip(" \t")
    if _AMONG.fullmatch(text):
        return True
    return bool(_PLAIN.fullmatch(text)) and abs(float(text)) != float("inf")
