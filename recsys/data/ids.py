"""Ids as they are collected while files are read, and what counts as an id.

Ids are kept as int64 as long as every one of them is a canonical decimal, afterwards as codes into
the distinct strings, so that memory stays near 8 bytes per id. Blanks around an id are not part of
it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.cells import EXPONENT, BadCellError
from recsys.data.doubts import doubts, without_zeros
from recsys.data.stream import shown

# all blanks of Unicode, the byte order mark and the zero-width space
BLANKS = "".join(c for c in map(chr, range(0x3001)) if c.isspace()) + "\ufeff\u200b"
_WHOLE = r"^(-?[1-9]\d*|0)(\.0*)?$"  # not `cells.WHOLE`: 007 is a spelling of its own

_EXACT_BITS = {16: 11, 32: 24, 64: 53}  # up to 2^this, a float of that width is exact
_LONG_FLOAT = r"^-?\d{16,}\.0*$"
_INT_OR_EXPONENT = rf"{_WHOLE}|{EXPONENT}"
_ROUNDED_ABOVE = (
    "is a float above 2^53, where whole numbers get rounded: expected the id without a point, as "
    "it was before it became a float"
)
_DIGITS_LOST = (
    "is a number in E notation without all its digits: expected the id in full (cast it to an "
    "integer or a text before it is written)"
)

_Coded = tuple[NDArray[np.int32], NDArray]


def canonical_integers(texts: pa.Array) -> NDArray[np.int64] | None:
    """`texts` as int64 if each is written as int64 would print it ("007" is not), else None."""
    try:
        numbers = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return None
    same = pc.equal(pc.cast(numbers, texts.type), texts)
    if not pc.all(same, min_count=0).as_py():  # without ids this is true
        return None
    return numbers.to_numpy(zero_copy_only=False)


class IdColumn:
    """Ids from any number of batches, of one file or of several parts."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._parts: list[list[NDArray[np.int64] | _Coded]] = []
        self._all_integers = True
        self.notes: list[str] = []

    def begin(self) -> None:
        """The ids that follow belong to the next part."""
        self._parts.append([])

    def drop(self) -> None:
        """Forget the part that began last; it must be empty."""
        dropped = self._parts.pop()
        assert not dropped

    def add(self, ids: pa.Array) -> None:
        """Append ids (integers, whole numbers or strings, without nulls).

        Raises BadCellError for an empty id, and for a number that is not whole.
        """
        chunks = self._parts[-1]
        if pa.types.is_integer(ids.type):
            chunks.append(ids.cast(pa.int64()).to_numpy(zero_copy_only=False))
            return
        if pa.types.is_floating(ids.type):
            values = ids.cast(pa.float64()).to_numpy(zero_copy_only=False)
            chunks.append(self._whole(values, ids.type.bit_width))
            return
        numbers = canonical_integers(ids) if self._all_integers else None
        if numbers is not None:
            chunks.append(numbers)
            return
        self._all_integers = False  # a failed attempt costs more than the rest of the work
        packed = ids.dictionary_encode()
        names = pc.utf8_trim(packed.dictionary, characters=BLANKS)
        empty = pc.index(names, pa.scalar("", names.type)).as_py()
        if empty >= 0:
            row = pc.index(packed.indices, pa.scalar(empty, packed.indices.type)).as_py()
            raise BadCellError(self._role, row, "is empty: expected an id")
        codes = packed.indices.to_numpy(zero_copy_only=False)
        chunks.append((codes, names.to_numpy(zero_copy_only=False).astype(object)))

    def _whole(self, values: NDArray[np.float64], width: int) -> NDArray[np.int64]:
        """Floats of `width` bits as integers. Raises BadCellError if any may have been rounded."""
        bad = ~(np.floor(values) == values)
        if bad.any():
            at = int(bad.argmax())
            raise BadCellError(self._role, at, f"is {values[at]}: expected a whole number")
        bits = _EXACT_BITS[width]
        bad = np.abs(values) > 2**bits
        if bad.any():
            at = int(bad.argmax())
            raise BadCellError(
                self._role,
                at,
                f"is {values[at]}, but float{width} is exact only for whole numbers up to "
                f"2^{bits}, and larger ones get rounded: expected integers or text",
            )
        return values.astype(np.int64)

    def finish(self) -> tuple[NDArray[np.int64], NDArray]:
        """(codes int64 (R,), ids (n,) ascending): ids[codes] are the rows in order of addition.

        Ids are int64 if every one is a decimal in its range, or clearly the same as one (5.0; 0005
        if another part has 5); otherwise they are strings. Raises BadCellError for a text that
        cannot be an id.
        """
        parts, self._parts = self._parts, []
        if all(isinstance(chunk, np.ndarray) for part in parts for chunk in part):
            values = np.concatenate([np.empty(0, np.int64), *(c for part in parts for c in part)])
            return self._doubted(*_coded(values))
        texts: list[NDArray] = []
        codes: list[NDArray] = []
        own_part: list[NDArray] = []
        known = 0
        for number, chunk in ((n, chunk) for n, part in enumerate(parts) for chunk in part):
            if isinstance(chunk, np.ndarray):
                own_codes, numbers = _coded(chunk)
                own = numbers.astype(str).astype(object)
            else:
                own_codes, own = chunk[0].astype(np.int64), chunk[1]
            codes.append(own_codes + known)
            texts.append(own)
            own_part.append(np.full(len(own), number))
            known += len(own)
        names, part_of = np.concatenate(texts), np.concatenate(own_part)
        del texts
        across, ids = _coded(self._unified(self._in_full(names), part_of))
        return self._doubted(across[np.concatenate(codes)], ids)

    def _doubted(self, rows: NDArray[np.int64], ids: NDArray) -> tuple[NDArray[np.int64], NDArray]:
        self.notes += doubts(self._role, ids, rows)
        return rows, ids

    def _in_full(self, names: NDArray) -> NDArray:
        """`names` with floats in full digits. Raises BadCellError where digits are lost."""
        texts = pa.array(names, pa.string())
        long = pc.filter(texts, pc.match_substring_regex(texts, _LONG_FLOAT))
        lost = pc.filter(long, pc.greater(pc.abs(pc.cast(long, pa.float64())), 2.0**53))
        if len(lost):
            raise BadCellError(self._role, None, _ROUNDED_ABOVE, lost[0].as_py())
        full = _without_exponents(texts)
        if full is None:
            return names
        short = pc.index(pc.is_null(full), pa.scalar(True)).as_py()
        if short >= 0:
            raise BadCellError(self._role, None, _DIGITS_LOST, texts[short].as_py())
        at = pc.index(pc.match_substring_regex(texts, EXPONENT), pa.scalar(True)).as_py()
        self._say_unified(texts[at].as_py(), full[at].as_py())
        return full.to_numpy(zero_copy_only=False).astype(object)

    def _unified(self, names: NDArray, part_of: NDArray) -> NDArray:
        """`names` as int64 if all are clearly integers; otherwise, or in doubt, as they are.

        If the first part pads its ids with zeros to one width, the others are padded too.
        """
        kinds, widths = [], []
        for part in np.unique(part_of):
            kind, width = _spelling(pa.array(names[part_of == part], pa.string()))
            kinds.append(kind)
            widths.append(width)
        found = set(kinds)
        if not kinds or "word" in found or found == {"padded"}:
            return names
        if kinds[0] == "padded":
            plain = _without_zeros(names)
            filled = np.array([name.zfill(widths[0]) for name in plain], object)
            changed = np.flatnonzero(filled != names)
            if len(changed):
                self._say_unified(names[changed[0]], filled[changed[0]])
            return filled
        try:
            numbers = pc.cast(pa.array(_without_zeros(names)), pa.int64())
        except pa.ArrowInvalid:
            return names
        changed = np.flatnonzero(pc.cast(numbers, pa.string()).to_numpy(False) != names)
        if len(changed):
            self._say_unified(names[changed[0]], str(numbers[int(changed[0])]))
        return numbers.to_numpy(zero_copy_only=False)

    def _say_unified(self, old: str, new: str) -> None:
        self.notes.append(respelled_note(self._role, old, new))


def spelled_as(names: Sequence[str], ids: NDArray) -> list[str]:
    """`names` in the spelling of `ids`, the ids from `IdColumn.finish`: 5.0 and 0005 are 5.

    The rule is the same as between parts; names to which it does not apply stay as they are.
    """
    full = _without_exponents(pa.array(names, pa.string()))
    if full is not None and not full.null_count:
        names = full.to_pylist()
    kind, _ = _spelling(pa.array(names, pa.string()))
    if kind == "word":
        return list(names)
    plain: list[str] = _without_zeros(np.array(names, object)).tolist()
    if ids.dtype == np.int64:
        return plain
    known, width = _spelling(pa.array(ids, pa.string()))
    return [name.zfill(width) for name in plain] if known == "padded" else list(names)


def respelled_note(role: str, old: str, new: str) -> str:
    """A note on ids that are spelled differently elsewhere."""
    return f"{role} ids such as {shown(old)} are read as {new}"


def _spelling(names: pa.Array) -> tuple[str, int]:
    """("integer", "float", "padded" or "word", width) of the ids of a part."""
    if pc.all(pc.match_substring_regex(names, _WHOLE)).as_py():
        dots = pc.any(pc.match_substring(names, ".")).as_py()
        return ("float" if dots else "integer"), 0
    width = pc.utf8_length(names)
    sizes = pc.min_max(width).as_py()
    digits = pc.all(pc.match_substring_regex(names, r"^\d+$")).as_py()
    same = sizes["min"] == sizes["max"]
    return ("padded" if digits and same else "word"), sizes["max"] or 0


def _without_exponents(texts: pa.Array) -> pa.Array | None:
    """Numerals, with those such as 1.2345678E7 in full, as 12345678; null where digits are lost.

    None if there are none in that form, or if other ids are not numerals: then they may be names.
    """
    short = pc.match_substring_regex(texts, EXPONENT)
    if not pc.any(short).as_py():
        return None
    if not pc.all(pc.match_substring_regex(texts, _INT_OR_EXPONENT)).as_py():
        return None
    values = pc.cast(pc.filter(texts, short), pa.float64())
    whole = pc.and_(pc.equal(pc.floor(values), values), pc.less_equal(pc.abs(values), 2.0**53))
    values = pc.if_else(whole, values, pa.scalar(None, pa.float64()))
    numbers = pc.cast(pc.cast(values, pa.int64()), pa.string())
    return pc.replace_with_mask(texts, short, numbers)


def _without_zeros(names: NDArray) -> NDArray:
    """Numerals as int64 would print them, as strings: 0005 and 5.0 are 5."""
    return without_zeros(pa.array(names, pa.string())).to_numpy(zero_copy_only=False)


def _coded(values: NDArray) -> tuple[NDArray[np.int64], NDArray]:
    """(codes, distinct values ascending)."""
    import pandas as pd  # imported here: it takes half a second, and workers read no files

    codes, distinct = pd.factorize(values)
    order = np.argsort(distinct, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place[codes], distinct[order]
