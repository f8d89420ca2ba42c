"""Ids that are probably not meant literally: which are refused, and which get a note.

| what | such as | then |
|---|---|---|
| a missing value as programs write it, or an error of Excel | `NULL`, `#NAME?` | refused |
| words for that which may be names | `NA`, `-`, `(not set)` | refused among numbers, else noted |
| many users in one, or a sum | `guest`, `(other)`, `Grand Total`, `u1 Total` beside `u1` | noted |
| a user 0 with far more rows than any other | `0` | noted |
| a number that lost digits | `9.78E+12`, `9,78E+12` | refused |
| numbers in a spelling that is not read as one | `5,0`, `1.008` beside `981` | noted |
| quotes or a formula that a program left around an id | `="0005"`, `b'u5'` | refused |
| up to three words among many numbers | `Total` | noted |
| numbers that are followed by a value, as in libsvm's format | `8:5` | noted |
| -1 among ids that are otherwise not negative | `-1` | noted |
| ids that differ only in how they are written | `Ann` and `ann`, `007`, `+7` and `7` | noted |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.cells import EXPONENT, WHOLE, BadCellError, matches
from recsys.data.stream import shown

# never names: written exactly like this, or in upper or lower case
_WRITTEN = frozenset({"nan", "NaN", "-nan", "None", "null", "NULL", "NaT", "N/A", "n/a"})
_MARKED = frozenset(
    {"<na>", "\\n", "(null)", "<null>", "[null]", "{null}", "$null$", "[object object]"}
)
_OF_EXCEL = frozenset(
    {"#null!", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#n/a", "#spill!", "#calc!"}
    | {"#n/a n/a"}
    | {"#wert!", "#bezug!", "#zahl!", "#nv", "#n/v", "#valeur!", "#nom?", "#nombre!", "#n/d"}
    | {"#¡valor!", "#¡ref!", "#¿nombre?", "#¡num!", "#¡div/0!", "#valore!", "#rif!", "#nome?"}
)  # in English, German, French, Spanish, Italian
_NIL = "00000000-0000-0000-0000-000000000000"
# perhaps names if ids are words, but never if they are numbers
_PERHAPS = frozenset(
    {"nan", "na", "n/a", "null", "none", "nat", "nil", "undefined", "unknown", "missing"}
    | {"?", "??", "-", "--", ".", "..", "inf", "-inf", "infinity"}
    | {"n.a.", "n.a", "\u2013", "\u2014", "[]", "{}", '""', "''"}
    | {"(not set)", "(not provided)", "(blank)", "(none)", "(leer)", "(unknown)"}
    | {_NIL, f"{{{_NIL}}}"}
    | {"/", ":", "::", "+", "&", "\uff0c", "\u3001"}  # separators of the items of a list
)
# users without a known name, and sums below a table, in English, German, French, Spanish
_NOBODY = frozenset(
    {"guest", "anonymous", "anonym", "anonymous user", "guest user", "gast", "invitado", "invité"}
)
_SUMS = frozenset(
    {"(other)", "total", "grand total", "subtotal", "sum", "totals", "gesamtergebnis", "gesamt"}
    | {"summe", "gesamtsumme", "total general", "total général", "suma total", "(all)"}
)
_SUM_OF = r"(?i)^(.+?)[ -]+(total|ergebnis|summe)$"
_ANY = sorted({name.lower() for name in _WRITTEN} | _MARKED | _OF_EXCEL | _PERHAPS)
_ROUNDED = r"^-?\d([.,]\d+)?[eE]\+\d{2,}$"
_LEFT_BY_PROGRAMS = r"""^(="[^"]*"|b'[^']*'|b"[^"]*")$"""
_IN_QUOTES = r"""^("[^"]*"|'[^']*'|“[^”]*”|'\d+)$"""  # the last is how Excel marks digits as text
_NUMBER = f"^{WHOLE}$"
_THOUSANDS = r"^-?\d{1,3}([,'.\x{a0}\x{202f} ]\d{3})+$"
_INVISIBLE = (
    r"[\x{ad}\x{34f}\x{61c}\x{180e}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}\x{feff}]"
)
# (numbers in an unusual spelling, what all other ids must then be, what the note says)
_ODD_NUMBERS = (
    (EXPONENT, "", "may be numbers in E notation"),
    (r"^-?\d+,0+$", r"^-?\d+(,0+)?$", "may be whole numbers with a decimal comma"),
    (
        r"^-?\d{1,3}(\.\d{3})+$|^-?\d{1,3}([,' \x{a0}\x{202f}]\d{3})+$",
        r"^-?\d{1,3}$",
        "may be numbers with a mark between thousands",
    ),
)
_VALUED = r"^\d+:\d+(\.\d+)?$"
_HASHES = r"^#{4,}$"
_FAR_MORE = 10  # times the rows of any other user
_FEW, _MANY = 3, 10  # a note on words among numbers: the most words, the fewest numbers


def doubts(role: str, ids: NDArray, rows: NDArray[np.int64]) -> list[str]:
    """Notes about `ids` (I,), which are distinct and ascending. rows: codes into them (R,).

    Raises BadCellError for a text that cannot be an id.
    """
    if not len(ids):
        return []
    if ids.dtype == np.int64:
        if len(ids) > 1 and ids[0] == -1 and ids[1] >= 0:
            return [_perhaps_missing(role, ids, rows, 0)]
        return _guests(role, ids, rows)
    texts = pa.array(ids, pa.string())
    for bad, what in (
        (
            matches(texts, _ROUNDED),
            "is a rounded number, digits of the id are lost: expected it in full",
        ),
        (
            matches(texts, _HASHES),
            "is what a spreadsheet shows where a column is too narrow: expected the id",
        ),
        (
            _wrapped(texts),
            "has quotes or a formula around it that a program left: expected only the id",
        ),
    ):
        if bad.any():
            raise BadCellError(role, None, what, str(ids[bad.argmax()]))
    numbers = matches(texts, _NUMBER)
    missing = _missing(texts, numbers)
    if missing.surely is not None:
        raise BadCellError(role, None, missing.why, str(ids[missing.surely]))
    notes = [_perhaps_missing(role, ids, rows, at) for at in missing.perhaps]
    words = np.flatnonzero(~numbers)
    if not missing.perhaps and 0 < len(words) <= _FEW and numbers.sum() >= _MANY:
        share = float(np.isin(rows, words).mean())
        names = ", ".join(shown(str(ids[at])) for at in words)
        notes.append(
            f"all {role} ids are numbers except {names}, with {share:.1%} of the rows: leave these "
            f"out of the file if they are not {role}s"
        )
    else:
        notes += _sums(role, texts, rows)
    if role == "item" and matches(texts, _VALUED).all():
        notes.append(
            f"all item ids are like {shown(str(ids[0]))} and are used as they are: if a rating or "
            "a count follows the colon, write only the items"
        )
    return [*notes, *_guests(role, ids, rows), *_odd_numbers(role, texts), *_twins(role, texts)]


def missing_among(names: Sequence[str]) -> str | None:
    """The first of `names` that can only be a missing value; None if there is none.

    A word that is refused only among numbers is accepted, since these are not all ids of the data.
    """
    return next((name for name in names if _surely_missing(name)), None)


def _surely_missing(name: str) -> bool:
    return name in _WRITTEN or name.lower() in _MARKED | _OF_EXCEL


def _sums(role: str, texts: pa.Array, rows: NDArray[np.int64]) -> list[str]:
    """Notes on ids that stand for many: users without a name, the sums below a table."""
    lower = pc.utf8_lower(texts)
    names = _SUMS | _NOBODY if role == "user" else _SUMS
    found = pc.is_in(lower, value_set=pa.array(sorted(names))).to_numpy(zero_copy_only=False)
    notes = [
        f"{shown(texts[int(at)].as_py())} counts as {_one(role)} like any other, with "
        f"{(rows == at).mean():.1%} of the rows: leave these out of the file if it stands for many"
        for at in np.flatnonzero(found)
    ]
    ends = pc.filter(texts, pc.match_substring_regex(texts, _SUM_OF))
    parts = pc.replace_substring_regex(ends, _SUM_OF, r"\1")
    sums = pc.filter(ends, pc.is_in(parts, value_set=texts))
    if len(sums):
        notes.append(
            f"{len(sums):,} {role} ids such as {shown(sums[0].as_py())} are other ids with a word "
            "for a sum: leave their rows out of the file if they are sums"
        )
    return notes


def _guests(role: str, ids: NDArray, rows: NDArray[np.int64]) -> list[str]:
    """A note on a user 0 who has far more rows than others, as in shops that store guests so."""
    zero = np.flatnonzero(ids == (0 if ids.dtype == np.int64 else "0"))
    if role != "user" or not len(zero) or len(ids) < 2:
        return []
    counts = np.bincount(rows, minlength=len(ids))
    own = counts[zero[0]]
    counts[zero[0]] = 0
    if own < _FAR_MORE * counts.max():
        return []
    return [
        f"user 0 counts as a user like any other, with {own / len(rows):.1%} of the rows, at least "
        "ten times as many as anyone else: leave these out of the file if they are of many guests"
    ]


def _one(role: str) -> str:
    return f"an {role}" if role == "item" else f"a {role}"


def _perhaps_missing(role: str, ids: NDArray, rows: NDArray[np.int64], at: int) -> str:
    share = float((rows == at).mean())
    return (
        f"{shown(str(ids[at]))} counts as {_one(role)} like any other, with {share:.1%} of the "
        "rows: leave these out of the file if it means a missing value"
    )


def _wrapped(texts: pa.Array) -> NDArray[np.bool_]:
    """Which ids have quotes around them that a program left, bool (I,)."""
    quoted = matches(texts, _IN_QUOTES)  # if only some have them, they are part of the id
    return quoted if quoted.all() else matches(texts, _LEFT_BY_PROGRAMS)


@dataclass(frozen=True)
class _Missing:
    """Missing values among ids. surely: the place of the first, or None; why: the end of a message.
    perhaps: the places of ids that may be missing values.
    """

    surely: int | None
    why: str
    perhaps: list[int]


def _missing(texts: pa.Array, numbers: NDArray[np.bool_]) -> _Missing:
    lower = pc.utf8_lower(texts)
    found = np.flatnonzero(
        pc.is_in(lower, value_set=pa.array(_ANY)).to_numpy(zero_copy_only=False)
    ).tolist()
    surely = [at for at in found if _surely_missing(texts[at].as_py())]
    if not surely and found and len(found) + numbers.sum() == len(texts):
        surely = found
    if not surely:
        return _Missing(None, "", found)
    kind = "an error of Excel" if lower[surely[0]].as_py() in _OF_EXCEL else "a missing value"
    why = f"is {kind}: expected an id (leave such rows out, or name it otherwise)"
    return _Missing(surely[0], why, [])


def _odd_numbers(role: str, texts: pa.Array) -> list[str]:
    """Notes on ids that may be numbers in a spelling that is not read as one."""
    notes = []
    for pattern, others, what in _ODD_NUMBERS:
        odd = matches(texts, pattern)
        if odd.any() and (not others or (odd | matches(texts, others)).all()):
            first = shown(texts[int(odd.argmax())].as_py())
            notes.append(f"{role} ids such as {first} {what}: they are used as they are, as words")
    return notes


def _twins(role: str, texts: pa.Array) -> list[str]:
    """A note on ids that people would consider the same."""
    plain = pc.utf8_lower(texts)
    if not pc.all(pc.string_is_ascii(texts)).as_py():
        plain = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC"))
        plain = pc.replace_substring_regex(plain, _INVISIBLE, "")
    plain = pc.replace_substring_regex(plain, r"\s+", " ")
    trimmed = pc.ascii_rtrim(plain, ".,;:")
    plain = pc.if_else(pc.equal(trimmed, ""), plain, trimmed)
    parted = pc.match_substring_regex(plain, _THOUSANDS)
    if pc.any(parted).as_py():
        whole = pc.replace_substring_regex(plain, r"[,'.\x{a0}\x{202f} ]", "")
        plain = pc.if_else(parted, whole, plain)
    plain = pc.replace_substring_regex(plain, r"^[+'](\d+(,0+)?$)", r"\1")  # ' as for Excel
    plain = pc.replace_substring_regex(plain, r"^(-?\d+),0+$", r"\1")
    numbers = matches(plain, _NUMBER)
    if numbers.any():
        plain = pc.if_else(pa.array(numbers), without_zeros(plain), plain)
    packed = plain.dictionary_encode()
    more = len(texts) - len(packed.dictionary)
    if not more:
        return []
    codes = packed.indices.to_numpy(zero_copy_only=False)
    twice = int((np.bincount(codes) > 1).argmax())
    one, other = (texts[int(at)].as_py() for at in np.flatnonzero(codes == twice)[:2])
    return [
        f"{more:,} {role} ids differ from others only in how they are written, such as "
        f"{_spelled(one)} and {_spelled(other)}: they count as different"
    ]


def _spelled(name: str) -> str:
    """`name` with its characters made visible, since two names may look the same."""
    plain = name.isascii() or not name.isprintable()
    return shown(name) if plain else f"{shown(name)} ({ascii(name[:60])[1:-1]})"


def without_zeros(numerals: pa.Array) -> pa.Array:
    """Numerals as int64 would print them, as strings: 0005 and 5.0 are 5, -0 is 0."""
    cut = pc.replace_substring_regex(numerals, r"\.0*$", "")
    cut = pc.replace_substring_regex(cut, r"^(-?)0+(\d)", r"\1\2")
    return pc.if_else(pc.equal(cut, "-0"), "0", cut)
