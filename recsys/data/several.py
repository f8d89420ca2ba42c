"""Item ids that are rather several items each, and items that are not items but pad lists.

An id such as `8,36` can be one item with two parts, or two items. The whole column decides: if
(nearly) all ids are whole numbers, or several of them separated by the same mark, or look like
lists as programs print them, they are lists. Ids whose parts never change places (`100234,1`) are
probably not lists and get a note, as do ids that the user has declared to be one item each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.cells import WHOLE, BadCellError, matches
from recsys.data.list_cells import hold_lists
from recsys.data.stream import shown

_BETWEEN = {",": "commas", ";": "semicolons", "|": "bars", "\uff0c": "commas", "\u3001": "commas"}
_BLANK = {" ": "blanks"}
# marks that composite ids have too: they count only if there is one row per user
_WITHIN = {
    "-": "hyphens",
    "/": "slashes",
    "::": "colons",
    ":": "colons",
    "+": "signs",
    "&": "signs",
}
_OTHERS, _SHARE = 0.02, 0.1  # the most ids that are neither; the least share of lists among all
_SAMPLE = 100_000  # ids that decide whether parts change places


@dataclass(frozen=True)
class _Lists:
    """The ids that look like lists: their number, the first, and what they are. sure: whether they
    surely are lists.
    """

    count: int
    first: str
    what: str
    sure: bool


def joined(ids: NDArray, option: str | None, *, listed: bool) -> list[str]:
    """A note if item `ids` (I,) look like lists. Raises BadCellError if they surely are.

    ids: distinct, from a table with one in every row. option: the one by which the user can say
    that they are one item each; "" if it is given, None if there is none. listed: whether there is
    one row per user.
    """
    if ids.dtype == np.int64 or not len(ids):
        return []
    texts = pa.array(ids, pa.string())
    found = _printed(texts) or _numbers(texts, _BETWEEN | _BLANK | (_WITHIN if listed else {}))
    if found is None:
        return []
    if found.sure and option != "":
        way_out = option or "give the file a header, and name its columns with --columns"
        raise BadCellError(
            "item",
            None,
            f"is {found.what}, as {found.count:,} of {len(ids):,} item ids: expected one item per "
            "row, or lists with blanks between the items under the header UserId,ItemId (in "
            f"parquet and JSON a column of lists); if each is one item: {way_out}",
            found.first,
        )
    return [
        f"{found.count:,} of {len(ids):,} item ids look like {found.what}, such as "
        f"{shown(found.first)}: they count as one item each; lists are read under the header "
        "UserId,ItemId, with blanks between the items"
    ]


def _printed(texts: pa.Array) -> _Lists | None:
    """The ids such as `[8, 36]`."""
    printed = matches(texts, r"""^"?(array\(|set\()?[\[({].*[\])}]\)?"?$""")
    several = printed & matches(texts, r"[\[({][^,\s]+[,\s]+[^,\s]")
    count = int(several.sum())
    if not count or (~printed).mean() > _OTHERS:
        return None
    first = texts[int(several.argmax())].as_py()
    if not hold_lists([first]):
        return None
    return _Lists(count, first, "a list as a program prints it", _enough(several))


def _numbers(texts: pa.Array, marks: dict[str, str]) -> _Lists | None:
    """The ids such as `8,36`. marks: names of the marks that may separate."""
    allowed = matches(texts, rf"^[-\d.\s{''.join(map(re.escape, marks))}]*$")
    if (~allowed).mean() > _OTHERS:
        return None
    numbers = matches(texts, f"^{WHOLE}$")
    best, mark = np.zeros(len(texts), bool), ""
    for each in marks:
        own = matches(texts, rf"^{WHOLE}(\s*{re.escape(each)}\s*{WHOLE})+$") & ~numbers
        if own.sum() > best.sum():
            best, mark = own, each
    if not best.any() or (~(best | numbers)).mean() > _OTHERS or _one_number(texts, best, mark):
        return None
    lists = pc.filter(texts, pa.array(best))
    sure = _enough(best) and not (best.all() and _parts_keep_places(lists, mark))
    what = f"a list of numbers with {marks[mark]} between"
    return _Lists(len(lists), lists[0].as_py(), what, sure)


def _enough(lists: NDArray[np.bool_]) -> bool:
    return bool(lists.sum() >= 2 and lists.mean() >= _SHARE)


def _one_number(texts: pa.Array, lists: NDArray[np.bool_], mark: str) -> bool:
    """Whether the marks can be part of a number: 1,008 beside 981; 5,0 beside 36,0; a date."""
    apart = re.escape(mark)
    decimal = rf"^-?\d+({apart}0+)?$"
    thousands = rf"^-?\d{{1,3}}({apart}\d{{3}})*$"
    return bool(
        (mark == "," and matches(texts, decimal).all())
        or (mark in ", " and matches(texts, thousands).all())
        or (mark == "-" and matches(pc.filter(texts, pa.array(lists)), r"^\d{4}-\d\d-\d\d$").all())
    )


def _parts_keep_places(lists: pa.Array, mark: str) -> bool:
    """Whether all have the same number of parts, and a value in one place is never in another."""
    parts = pc.split_pattern(lists[:_SAMPLE], mark)
    sizes = pc.min_max(pc.list_value_length(parts)).as_py()
    if sizes["min"] != sizes["max"]:
        return False
    table = pc.utf8_trim_whitespace(parts.flatten()).to_numpy(zero_copy_only=False)
    table = table.reshape(-1, sizes["min"])
    apart = sum(len(set(column)) for column in table.T)
    return apart == len(set(table.ravel()))


def padding(items: NDArray[np.int64], sizes: NDArray[np.int64], ids: NDArray) -> list[str]:
    """A note if an item is repeated at one end of many lists, like a 0 that pads them.

    items: of all lists in turn, codes into `ids`, oldest first. sizes: how many each list has.
    """
    begins = np.cumsum(sizes) - sizes
    long = sizes > 1
    first, last = begins[long], (begins + sizes)[long] - 1
    for end, one, other in (("beginning", first, first + 1), ("end", last, last - 1)):
        twice = items[one][items[one] == items[other]]
        if len(twice) < 2:
            continue
        values, counts = np.unique(twice, return_counts=True)
        filler, count = values[counts.argmax()], int(counts.max())
        if count >= 2 and count * 3 >= len(one):
            return [
                f"item {shown(str(ids[filler]))} is repeated at the {end} of {count:,} of "
                f"{len(one):,} lists: if it pads them to one length, leave it out; otherwise it "
                "counts as an item of all these users"
            ]
    return []
