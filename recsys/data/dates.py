"""Dates in text: how a column writes them, and the instants that they mean.

The first batch decides the shape (the place of the year, months as names or numbers); every later
cell must have it. Some shapes can be read in several ways: 11/12/2023 with the day or the month
first, 23/12/30 even with the year first. All ways stay open until a row rules one out, such as by a
day above 12. All rows together tell a short year from a day: read in the right way they have all
days of a month and few years, otherwise years scattered over decades. If neither decides, the order
can't be known, and the column has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.instants import Instants, concatenate

AMBIGUOUS = (
    "has dates that can be read as day/month or as month/day in every row: "
    "write them as 2024-01-31 (year first)"
)
# ways to read a date; "ymd" in short shapes has the year where the others have the day
_FIRST = {"dmy": "the day first", "mdy": "the month first", "ymd": "the year first"}
# limits of years and days by which all rows together show a way to read short years to be right
_FEW_YEARS, _SCATTERED, _EARLY_DAY, _LATE_DAY = 15, 20, 8, 28
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
    "short year": (
        r"(?P<a>\d{1,2})[-/.](?P<b>\d{1,2})[-/.](?P<y>\d{1,2})" + _TIME,
        "31/01/24",
    ),
    "day, name": (
        _WEEKDAY
        + rf"(?P<d>\d{{1,2}})[-/ .]+{_NAME}[-/ ,]+(?:(?P<Y>\d{{4}})|(?P<y>\d{{1,2}}))"
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
_WAYS = {
    "year last": ("dmy", "mdy"),
    "short year": ("dmy", "mdy", "ymd"),
    "day, name": ("dmy", "ymd"),
}


@dataclass(frozen=True)
class Reading:
    """Dates read in one way. years, days (of the month): the lowest and the highest."""

    instants: Instants
    years: tuple[int, int]
    days: tuple[int, int]

    @staticmethod
    def of(instants: Instants, year: NDArray[np.int64], day: NDArray[np.int64]) -> Reading:
        """The reading of at least one date. year, day: of each."""
        return Reading(
            instants, (int(year.min()), int(year.max())), (int(day.min()), int(day.max()))
        )


class DateColumn:
    """The dates of a file, in batches. ways: how they can be read; several while that is open."""

    def __init__(self) -> None:
        self.shape = ""
        self.ways: list[str] = []
        self.zones: set[bool] = set()  # whether times have a zone: both if only some do
        self.notes: list[str] = []
        self._chunks: dict[str, list[Reading]] = {}
        self._first = ""  # date
        self._noun = "dates"

    @staticmethod
    def of_digits(shape: str, first: str, readings: Mapping[str, Reading]) -> DateColumn:
        """The column of numbers whose digits spell dates with a year of two digits.

        first: the first of them, as text. readings: the dates by way.
        """
        column = DateColumn()
        column.shape, column.ways = shape, list(readings)
        column.zones = {False}
        column._chunks = {way: [reading] for way, reading in readings.items()}
        column._first, column._noun = first, "numbers"
        if len(readings) == 1:
            column.notes.append(
                f"numbers such as {first} are read as dates, {_FIRST[column.ways[0]]}"
            )
        return column

    @property
    def example(self) -> str:
        """An example of a date in this column's form, for messages; an ISO date at first."""
        return SHAPES[self.shape][1] if self.shape else "2024-01-31"

    def add(self, texts: pa.Array) -> int | None:
        """Append trimmed texts; returns the position of the first that does not fit, or None."""
        if self.shape in ("", "ymd") and (quick := _quick(texts)) is not None:
            instants, zoned = quick
            self._enter("ymd", ["ymd"])
            self._chunks["ymd"].append(Reading(instants, (0, 0), (0, 0)))  # nothing is open
            self.zones.add(zoned)
            return None
        texts = _plain_blanks(texts)
        self._first = self._first or texts[0].as_py()
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
        ways = self.ways or list(_WAYS.get(shape, ("ymd",)))
        read = {way: fields.read(way, open=shape in _WAYS) for way in ways}
        good = {way: found for way, found in read.items() if isinstance(found, Reading)}
        if not good:
            return max(at for at in read.values() if not isinstance(at, Reading))
        self._enter(shape, ways)
        self.ways = list(good)
        self._chunks = {way: [*self._chunks[way], found] for way, found in good.items()}
        self.zones |= fields.zones()
        return None

    def prefer(self, way: str) -> None:
        """Read the dates in this way if it is still open."""
        if way in self.ways:
            self.ways = [way]

    def extent(self, way: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """The first and the last year, and the first and the last day of a month, read this way."""
        years = [year for reading in self._chunks[way] for year in reading.years]
        days = [day for reading in self._chunks[way] for day in reading.days]
        return (min(years), max(years)), (min(days), max(days))

    def said(self) -> str:
        """The name of these dates in messages."""
        return f"{self._noun} such as {self._first}"

    def finish(self) -> Instants | str:
        """The instants, in order of addition; or a text on why they cannot be known."""
        found = [
            concatenate([reading.instants for reading in self._chunks[way]]) for way in self.ways
        ]
        self._chunks = {}
        if any(not np.array_equal(found[0].seconds, other.seconds) for other in found[1:]):
            if self.shape == "year last":
                return AMBIGUOUS
            ways = " or ".join(_FIRST[way] for way in self.ways)
            return (
                f"has {self.said()} that can be read with {ways}: write them as 2024-01-31 "
                "(year first, in four digits)"
            )
        return found[0]


def agree(columns: Sequence[DateColumn]) -> None:
    """If a file leaves open how its dates are read, let other files decide, or all files together.

    If it was all together, the first of them gets a note on that.
    """
    for shape in dict.fromkeys(column.shape for column in columns):
        alike = [column for column in columns if column.shape == shape]
        undecided = [column for column in alike if len(column.ways) > 1]
        known = {column.ways[0] for column in alike if len(column.ways) == 1}
        if undecided and not known and (found := _plain_way(undecided)) is not None:
            way, note = found
            undecided[0].notes.append(note)
            known = {way}
        if len(known) == 1:
            for column in undecided:
                column.prefer(*known)


def _plain_way(columns: Sequence[DateColumn]) -> tuple[str, str] | None:
    """The way to read short years that all rows of `columns` show to be right, and a note; or None.

    That way has days from the first to the last ones of a month, and few years. Otherwise these
    days would be years, from 2008 or before to 2028 or after.
    """
    ways = [way for way in columns[0].ways if all(way in column.ways for column in columns)]
    years, days = {}, {}
    for way in ways:
        extents = [column.extent(way) for column in columns]
        years[way] = min(own[0][0] for own in extents), max(own[0][1] for own in extents)
        days[way] = min(own[1][0] for own in extents), max(own[1][1] for own in extents)
    for way in ways:
        others = [other for other in ways if other != way]
        if (
            others
            and days[way][0] <= _EARLY_DAY
            and days[way][1] >= _LATE_DAY
            and years[way][1] - years[way][0] <= _FEW_YEARS
            and all(years[other][1] - years[other][0] >= _SCATTERED for other in others)
        ):
            low, high = years[others[-1]]
            return way, (
                f"{columns[0].said()} are read with {_FIRST[way]}: with {_FIRST[others[-1]]}, they "
                f"would lie in {low} to {high}"
            )
    return None


def _quick(texts: pa.Array) -> tuple[Instants, bool] | None:
    """ISO dates by Arrow's own parser, to the microsecond, and whether they have a zone; or None.

    A failed attempt costs more than a successful one, so the first cell is tried alone.
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
        """The texts of a part, "" in rows without it; None if the shape has no such part."""
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
        """Whether times have a zone: both values if only some do, none if dates have no times."""
        return set(np.unique((self._has("utc") | self._has("sign"))[self._has("H")]).tolist())

    def _wide(self, name: str) -> NDArray[np.bool_]:
        """Which rows have two digits in a part, or none, bool (n,)."""
        texts = self._texts(name)
        if texts is None:
            return np.ones(len(self._fields), bool)
        return pc.not_equal(pc.utf8_length(texts), 1).to_numpy(zero_copy_only=False)

    def read(self, way: str, *, open: bool) -> Reading | int:
        """The dates read in this way, or the position of the first that is not a date.

        open: whether the shape can be read in several ways, so that the first number is the day,
        the month or a short year.
        """
        first = "a" if "a" in self._names else "d"
        month = self._ints("m") if "m" in self._names else self._month_names()
        if open and way == "ymd":
            year, day = full_years(self._ints(first)), self._ints("y")
            fits = self._wide(first) & ~self._has("Y")
        else:
            year = np.where(self._has("Y"), self._ints("Y"), full_years(self._ints("y")))
            day = self._ints(first)
            fits = self._wide("y")
        if "a" in self._names:
            month = self._ints("b")
            if way == "mdy":
                day, month = month, day
        hour, minute, second = self._ints("H"), self._ints("M"), self._ints("S")
        half = self._has("P")
        good = fits & (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
        good &= day <= days_in(year, np.where(good, month, 1))
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
        return Reading.of(Instants.of_parts(seconds - offset, self._fractions()), year, day)

    def _fractions(self) -> NDArray[np.int64]:
        texts = self._texts("F")
        if texts is None:
            return np.zeros(len(self._fields), np.int64)
        nine = pc.utf8_slice_codeunits(pc.utf8_rpad(texts, 9, "0"), 0, 9)
        return pc.cast(nine, pa.int64()).to_numpy(zero_copy_only=False)

    def _month_names(self) -> NDArray[np.int64]:
        """The months, 1 to 12, or 0 for a text that is not the name of a month."""
        texts = self._texts("name")
        if texts is None:
            return np.zeros(len(self._fields), np.int64)
        lower = pc.utf8_lower(texts)
        short = pc.index_in(pc.utf8_slice_codeunits(lower, 0, 3), pa.array(_SHORT_MONTHS))
        full = pc.is_in(lower, pa.array([*_SHORT_MONTHS, *_MONTHS, "sept"]))
        month = pc.if_else(full, pc.add(short, 1), 0)
        return pc.fill_null(month, 0).to_numpy(zero_copy_only=False).astype(np.int64)


def full_years(short: NDArray[np.int64]) -> NDArray[np.int64]:
    """Years of two digits in full, as in POSIX: 69 to 99 are in the last century."""
    return short + np.where(short >= 69, 1900, 2000)


def days_in(year: NDArray[np.int64], month: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of days of each month; month: 1 to 12."""
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    days = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[month]
    return days + (leap & (month == 2))


def days_since_1970(
    year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Days since 1970 in the Gregorian calendar; computed with years that begin in March, so that a
    leap day is the last day of its year.
    """
    year = year - (month <= 2)
    month = (month + 9) % 12
    return (
        year * 365 + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469
    )
