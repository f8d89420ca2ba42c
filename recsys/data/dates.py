"""Dates in text: how a column writes them, and the instants that it means.

The first batch decides the shape (where the year is, names or numbers of months); every later cell
must have it. Where day and month are both numbers before the year, 11/14/2023 or 14.11.2023, both
orders stay open until a day above 12 rules one out. If none does, the order can't be known, and the
column has none.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.instants import Instants, concatenate

AMBIGUOUS = (
    "has dates that can be read as day/month or as month/day in every row: "
    "write them as 2024-01-31 (year first)"
)
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_SHORT_MONTHS = tuple(name[:3] for name in _MONTHS)

_ZONE = (
    r"(?: ?(?P<utc>[Zz]|UTC|GMT))?(?: ?(?P<sign>[+-])(?P<zh>\d{2})(?::?(?P<zm>\d{2}))?)?"
    r"(?:\[[A-Za-z0-9_/+:-]+\])?(?: \([A-Za-z ]+\))?"
)
_CLOCK = (
    r"(?P<H>\d{1,2})(?::(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<F>\d+))?)?)?"
    r"(?: ?(?P<P>[AaPp])\.?[Mm]\.?)?"
)
_TIME = rf"(?:(?:T|:|,? +){_CLOCK}{_ZONE})?"
_WEEKDAY = r"(?:[A-Z][a-z]{2,8},? +)?"
_NAME = r"(?P<name>[A-Za-z]{3,9})\.?"

# shape: (pattern, an example of it). a, b: two numbers, one the day and one the month
SHAPES: dict[str, tuple[str, str]] = {
    "ymd": (
        r"(?P<Y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})" + _TIME,
        "2024-01-31",
    ),
    "basic": (
        r"(?P<Y>\d{4})(?P<m>\d{2})(?P<d>\d{2})[T ]"
        r"(?P<H>\d{2})(?::?(?P<M>\d{2}))(?::?(?P<S>\d{2})(?:[.,](?P<F>\d+))?)?" + _ZONE,
        "20240131T221320",
    ),
    "year last": (
        r"(?P<a>\d{1,2})[-/.](?P<b>\d{1,2})[-/.](?P<Y>\d{4})" + _TIME,
        "31/01/2024",
    ),
    "short year last": (
        r"(?P<a>\d{1,2})[/.](?P<b>\d{1,2})[/.](?P<y>\d{2})" + _TIME,
        "31/01/24",
    ),
    "day, name": (
        _WEEKDAY
        + rf"(?P<d>\d{{1,2}})[-/ .]+{_NAME}[-/ ,]+(?:(?P<Y>\d{{4}})|(?P<y>\d{{2}}))"
        + _TIME,
        "31 Jan 2024",
    ),
    "name, day": (
        _WEEKDAY + _NAME + r" +(?P<d>\d{1,2})(?:st|nd|rd|th)?,? +(?P<Y>\d{4})" + _TIME,
        "Jan 31, 2024",
    ),
    "month day, year": (r"(?P<m>\d{1,2}) (?P<d>\d{1,2}), (?P<Y>\d{4})", "01 31, 2024"),
    "year at the end": (
        _WEEKDAY + _NAME + r" +(?P<d>\d{1,2}) +" + _CLOCK + r"(?:" + _ZONE + r") +(?P<Y>\d{4})",
        "Wed Jan 31 22:13:20 +0000 2024",
    ),
}
_OPEN = ("year last", "short year last")


class DateColumn:
    """Dates of one file in batches. `ways`: how a and b may be read, "dm" and "md" where open."""

    def __init__(self) -> None:
        self.shape = ""
        self.ways: list[str] = []
        self.zones: set[bool] = set()  # whether times have one
        self._chunks: dict[str, list[Instants]] = {}

    @property
    def example(self) -> str:
        """A date as this column writes it, for messages; an ISO date before anything was read."""
        return SHAPES[self.shape][1] if self.shape else "2024-01-31"

    def add(self, texts: pa.Array) -> int | None:
        """Append trimmed texts; or the position of the first one that does not fit."""
        if self.shape in ("", "ymd") and (quick := _quick(texts)) is not None:
            instants, zoned = quick
            self._enter("ymd", ["ymd"])
            self._chunks["ymd"].append(instants)
            self.zones.add(zoned)
            return None
        texts = _plain_blanks(texts)
        worst = -1
        for shape in [self.shape] if self.shape else SHAPES:
            pattern = f"^(?:{SHAPES[shape][0]})$"
            if pc.extract_regex(texts[:1], pattern).null_count:
                worst = max(worst, 0)
                continue
            fields = pc.extract_regex(texts, pattern)
            if fields.null_count:
                at = pc.index(pc.is_null(fields), pa.scalar(True)).as_py()
                worst = max(worst, at)
                continue
            bad = self._add_fields(shape, _Fields(fields))
            if bad is None:
                return None
            worst = max(worst, bad)
        return worst

    def _enter(self, shape: str, ways: list[str]) -> None:
        if not self.shape:
            self.shape, self.ways = shape, ways
            self._chunks = {way: [] for way in ways}

    def _add_fields(self, shape: str, fields: _Fields) -> int | None:
        ways = self.ways or (["dm", "md"] if shape in _OPEN else ["ymd"])
        read = {way: fields.instants(way) for way in ways}
        good = {way: found for way, found in read.items() if isinstance(found, Instants)}
        if not good:
            return max(at for at in read.values() if not isinstance(at, Instants))
        self._enter(shape, ways)
        self.ways = list(good)
        self._chunks = {way: [*self._chunks[way], found] for way, found in good.items()}
        self.zones |= fields.zones()
        return None

    def prefer(self, way: str) -> None:
        """Read a and b this way where both are open."""
        if way in self.ways:
            self.ways = [way]

    def finish(self) -> Instants | str:
        """The instants in order of addition; or why they cannot be known."""
        found = [concatenate(self._chunks[way]) for way in self.ways]
        self._chunks = {}
        if len(found) > 1 and not np.array_equal(found[0].seconds, found[1].seconds):
            return AMBIGUOUS
        return found[0]


def _quick(texts: pa.Array) -> tuple[Instants, bool] | None:
    """ISO dates by Arrow's own parser, to the microsecond; and whether they have a zone.

    An attempt that fails costs more than one that does not, so the first cell is tried alone.
    """
    named = texts[0].as_py().endswith((" UTC", " GMT"))
    if named:
        ends = pc.or_(pc.ends_with(texts, " UTC"), pc.ends_with(texts, " GMT"))
        if not pc.all(ends).as_py():
            return None
        texts = pc.utf8_slice_codeunits(texts, 0, -4)
    for zoned in (False,) if named else (False, True):
        kind = pa.timestamp("us", "UTC" if zoned else None)
        try:
            pc.cast(texts[:1], kind)
            values = pc.cast(pc.cast(texts, kind), pa.int64())
        except pa.ArrowException:
            continue
        return Instants.of_units(values.to_numpy(zero_copy_only=False), 10**6), zoned or named
    return None


def _plain_blanks(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, "[\u00a0\u202f\u2009]", " ")


class _Fields:
    """The named parts of a batch of dates that all have one shape."""

    def __init__(self, fields: pa.StructArray) -> None:
        self._fields = fields
        self._names = {field.name for field in fields.type}

    def _texts(self, name: str) -> pa.Array | None:
        """None where the shape has no such part; "" in rows without it."""
        return self._fields.field(name) if name in self._names else None

    def _ints(self, name: str) -> NDArray[np.int64]:
        texts = self._texts(name)
        if texts is None:
            return np.zeros(len(self._fields), np.int64)
        filled = pc.if_else(pc.equal(texts, ""), "0", texts)
        return pc.cast(filled, pa.int64()).to_numpy(zero_copy_only=False)

    def _has(self, name: str) -> NDArray[np.bool_]:
        texts = self._texts(name)
        if texts is None:
            return np.zeros(len(self._fields), bool)
        return pc.not_equal(texts, "").to_numpy(zero_copy_only=False)

    def zones(self) -> set[bool]:
        """Whether times have a zone, some or all; dates without a time do not tell."""
        return set(np.unique((self._has("utc") | self._has("sign"))[self._has("H")]).tolist())

    def instants(self, way: str) -> Instants | int:
        """The instants with a and b read this `way`, or the first position that is not a date."""
        year = np.where(self._has("Y"), self._ints("Y"), _full_years(self._ints("y")))
        month = self._ints("m") if "m" in self._names else self._month_names()
        day = self._ints("d")
        if "a" in self._names:
            first, second = self._ints("a"), self._ints("b")
            day, month = (first, second) if way == "dm" else (second, first)
        hour, minute, second = self._ints("H"), self._ints("M"), self._ints("S")
        half = self._has("P")
        good = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
        good &= day <= _days_in(year, np.where(good, month, 1))
        good &= (hour <= 23) & (minute <= 59) & (second <= 60)
        good &= ~half | ((hour >= 1) & (hour <= 12))
        if half.any():
            letters = self._texts("P")
            assert letters is not None
            afternoon = pc.is_in(letters, pa.array(["P", "p"])).to_numpy(zero_copy_only=False)
            hour = np.where(half, hour % 12 + 12 * afternoon, hour)
        offset = self._ints("zh") * 3600 + self._ints("zm") * 60
        good &= (self._ints("zh") <= 15) & (self._ints("zm") <= 59)
        if not good.all():
            return int((~good).argmax())
        if (west := self._texts("sign")) is not None:
            offset = np.where(pc.equal(west, "-").to_numpy(zero_copy_only=False), -offset, offset)
        seconds = days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
        return Instants.of_parts(seconds - offset, self._fractions())

    def _fractions(self) -> NDArray[np.int64]:
        texts = self._texts("F")
        if texts is None:
            return np.zeros(len(self._fields), np.int64)
        nine = pc.utf8_slice_codeunits(pc.utf8_rpad(texts, 9, "0"), 0, 9)
        return pc.cast(nine, pa.int64()).to_numpy(zero_copy_only=False)

    def _month_names(self) -> NDArray[np.int64]:
        """1 to 12, or 0 for what is not the name of a month."""
        texts = self._texts("name")
        if texts is None:
            return np.zeros(len(self._fields), np.int64)
        lower = pc.utf8_lower(texts)
        short = pc.index_in(pc.utf8_slice_codeunits(lower, 0, 3), pa.array(_SHORT_MONTHS))
        full = pc.is_in(lower, pa.array([*_SHORT_MONTHS, *_MONTHS, "sept"]))
        month = pc.if_else(full, pc.add(short, 1), 0)
        return pc.fill_null(month, 0).to_numpy(zero_copy_only=False).astype(np.int64)


def _full_years(short: NDArray[np.int64]) -> NDArray[np.int64]:
    """Two digits as POSIX reads them: 69 to 99 are of the last century."""
    return short + np.where(short >= 69, 1900, 2000)


def _days_in(year: NDArray[np.int64], month: NDArray[np.int64]) -> NDArray[np.int64]:
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    days = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[month]
    return days + (leap & (month == 2))


def days_since_1970(
    year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Days of the Gregorian calendar, counted from March so that a leap day ends its year."""
    year = year - (month <= 2)
    month = (month + 9) % 12
    return (
        year * 365 + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469
    )


_DIGITS = {8: 0, 12: 2, 14: 3, 17: 4}  # digits: how many parts of a time follow the date
_YEARS = (1900, 2100)


def digits_as_dates(numbers: NDArray) -> Instants | str | None:
    """The instants of numbers such as 20231114, 202311142213 or 20231114221320.

    None if one of them is not such a date of 1900 to 2100 (or the year 9999); a reason if they are
    dates with the day or month first, whose order as numbers is not that of time.
    """
    if not len(numbers) or (numbers < 10**6).any() or (numbers >= 10**17 * 3).any():
        return None
    whole = numbers.astype(np.int64)
    if (whole != numbers).any():
        return None
    for digits, parts in _DIGITS.items():
        if (whole >= 10 ** (digits - 1)).all() and (whole < 10**digits).all():
            found = _spelled(whole, parts)
            if found is not None:
                return found
    if (whole < 10**8).all():
        rest, year = np.divmod(whole, 10**4)
        first, second = np.divmod(rest, 100)
        for day, month in ((first, second), (second, first)):
            if _exists(year, month, day, _YEARS):
                return "has dates such as 31012024, the year last: write them as 2024-01-31"
    return None


def _exists(
    year: NDArray[np.int64],
    month: NDArray[np.int64],
    day: NDArray[np.int64],
    years: tuple[int, int],
) -> bool:
    good = (((year >= years[0]) & (year <= years[1])) | (year == 9999)) & (month >= 1)
    good &= (month <= 12) & (day >= 1)
    return bool(good.all() and (day <= _days_in(year, month)).all())


def _spelled(whole: NDArray[np.int64], parts: int) -> Instants | None:
    millis = np.zeros_like(whole)
    if parts == 4:
        whole, millis = np.divmod(whole, 1000)
        parts = 3
    clock = [np.zeros_like(whole)] * 3
    for n in reversed(range(parts)):
        whole, clock[n] = np.divmod(whole, 100)
    rest, day = np.divmod(whole, 100)
    year, month = np.divmod(rest, 100)
    hour, minute, second = clock
    if not _exists(year, month, day, _YEARS) or (hour > 23).any():
        return None
    if (minute > 59).any() or (second > 60).any():
        return None
    seconds = days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
    return Instants.of_parts(seconds, millis * 10**6)
