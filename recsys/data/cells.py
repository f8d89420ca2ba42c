"""Cells of a column: the error for one that cannot be used, and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# A number of any kind, and a whole number written as an integer or a float: 5, 005, -5.0, 5.
# Other files have patterns for less: an integer without a point (`layout`), the canonical spelling
# of an id (`ids`), numbers that lost digits (`doubts`, `times`).
NUMERAL = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
WHOLE = r"-?\d+(\.0*)?"
MISSING = "is missing (null): expected an id (leave such rows out)"
EXPONENT = r"^-?\d\.\d+[eE]\d{1,2}$"  # as Java, Spark and Julia write a double from 10^7 on


def all_whole(words: Iterable[str]) -> bool:
    """Whether every word is a whole number, in digits of any script."""
    return all(re.fullmatch(WHOLE, word) for word in words)


class BadCellError(Exception):
    """A cell that cannot be used. The reader finds its line and turns this into an InputError.

    role: of the column. row: its place in the batch, if known. what: the end of a message. cell: an
    id that cannot be used, if that is known instead of its row.
    """

    def __init__(self, role: str, row: int | None, what: str, cell: str | None = None) -> None:
        super().__init__(role, row, what, cell)
        self.role, self.row, self.what, self.cell = role, row, what, cell

    def __str__(self) -> str:
        shown = "" if self.cell is None else f"{self.cell!r} "
        return f"{self.role} {shown}{self.what}"


@dataclass(frozen=True)
class ColumnProblem:
    """Why a column that is not necessary is left out.

    file: the number of its file, from 0. row: in that file, from 0, if known. what: continues a
    sentence that begins with the column.
    """

    file: int
    row: int | None
    what: str


def numbers_of(texts: pa.Array) -> NDArray[np.float64] | None:
    """`texts` as float64; None if any is not a number."""
    for attempt in (texts, pc.ascii_trim_whitespace(texts)):
        try:
            return pc.cast(attempt, pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            continue
    return None


def matches(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    """Which of `texts` (n,) have a part that matches `pattern` (RE2), bool (n,)."""
    return pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)


def finite(role: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values`. Raises BadCellError at the first NaN or infinity."""
    bad = ~np.isfinite(values)
    if bad.any():
        raise BadCellError(role, int(bad.argmax()), "is not a finite number")
    return values


def as_text(values: pa.Array) -> pa.Array:
    """`values` without dictionary encoding, and text as a string array, however it is stored.

    Hive, Impala and old Spark store text as bytes, newer Arrow as string views. Raises
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
