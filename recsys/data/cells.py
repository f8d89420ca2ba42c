"""Cells of a column: the error for one that cannot be used, and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# A number of any kind, and a whole one as integers or floats are written: 5, 005, -5.0, 5.
# What has a pattern of its own elsewhere asks for less: an integer without a point (`layout`), the
# one spelling of an id (`ids`), digits that were rounded away (`doubts`, `times`).
NUMERAL = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
WHOLE = r"-?\d+(\.0*)?"
MISSING = "is missing (null): expected an id (leave such rows out)"
EXPONENT = r"^-?\d\.\d+[eE]\d{1,2}$"  # as Java, Spark and Julia write a double from 10^7 on


def all_whole(words: Iterable[str]) -> bool:
    """Whether every word is a whole number, in the digits of any script."""
    return all(re.fullmatch(WHOLE, word) for word in words)


class BadCellError(Exception):
    """A cell that cannot be used. The reader finds its line and turns this into an `InputError`.

    row: where it is in its batch, if known. cell: an id that cannot be used, wherever it is.
    """

    def __init__(self, role: str, row: int | None, what: str, cell: str | None = None) -> None:
        super().__init__(role, row, what, cell)
        self.role, self.row, self.what, self.cell = role, row, what, cell

    def __str__(self) -> str:
        shown = "" if self.cell is None else f"{self.cell!r} "
        return f"{self.role} {shown}{self.what}"


@dataclass(frozen=True)
class ColumnProblem:
    """Why a column that nothing needs is left out.

    file: which one, from 0; row: where in it, from 0, where one is known. what: continues a
    sentence that begins with the column.
    """

    file: int
    row: int | None
    what: str


def numbers_of(texts: pa.Array) -> NDArray[np.float64] | None:
    """`texts` as float64; None if one is not a number."""
    for attempt in (texts, pc.ascii_trim_whitespace(texts)):
        try:
            return pc.cast(attempt, pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            continue
    return None


def matches(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    """Which of `texts` (n,) have a part that `pattern` of RE2 fits, bool (n,)."""
    return pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)


def finite(role: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values`, or `BadCellError` at the first NaN or infinity."""
    bad = ~np.isfinite(values)
    if bad.any():
        raise BadCellError(role, int(bad.argmax()), "is not a finite number")
    return values


def as_text(values: pa.Array) -> pa.Array:
    """`values` without a dictionary, and text as a string array, however it is stored.

    Hive, Impala and old Spark keep text as bytes, newer Arrow as string views.
    `pa.ArrowInvalid` for bytes that are not UTF-8.
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pc.cast(values, pa.string())
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pc.cast(values, pa.string())
    return values
