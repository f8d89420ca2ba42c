"""Numbers whose digits spell dates, such as 20231114, 2023111422 or 231114, and what they mean.

| digits | read as |
|---|---|
| year in four digits first, then month, day, and perhaps a time with a fraction | that date |
| `YYYYMM` | numbers without a date, whose order is right |
| year in four digits after day and month, or after the month | refused |
| year in two digits, day and month, in any order of these, and perhaps a time | as in `dates.py` |

A column is read in this way only if the digits of every row spell a date.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from recsys.data.dates import DateColumn, Reading, days_in, days_since_1970, full_years
from recsys.data.instants import Instants

_HEAD = 1000  # numbers that are checked first
_EVER = (1900, 2100)
_RECENT = (1990, 2040)  # years that are required if the digits could also mean something else
# the parts of a time and the digits of its fraction: by all digits, and by those after the date
_YEAR_FIRST = {8: (0, 0), 10: (1, 0), 12: (2, 0), 14: (3, 0)} | {
    14 + n: (3, n) for n in range(1, 6)
}
_OTHERS = {0: (0, 0), 2: (1, 0), 4: (2, 0), 6: (3, 0), 9: (3, 3), 12: (3, 6)}
_MANY = 30  # so many different numbers are not all dates by chance
_NOW = (788_918_400, 1_893_456_000)  # seconds since 1970: 1995 to 2029

_Ints = NDArray[np.int64]
_Found = Instants | DateColumn | str
_Finder = Callable[[_Ints], _Found | None]
_ORDER = "order"  # numbers that are in order, though without a date


def dates_of_digits(numbers: NDArray) -> _Found | None:
    """What numbers (int64 or float64) mean if the digits of all spell dates; else None.

    It is a DateColumn if the year has two digits, and a text with the reason if the order cannot be
    known or is not that of the numbers.
    """
    if _first(numbers[:_HEAD]) is None:  # usually the first thousand show that they are not dates
        return None
    found = _first(numbers)
    if found is None or found == _ORDER or not _sure(numbers, found):
        return None
    return _checked(numbers, found)


def _first(numbers: NDArray) -> _Found | None:
    """What `numbers` are to the first finder that recognises them; None if none does."""
    if not len(numbers) or numbers.min() < 10**4 or numbers.max() >= 10**19 // 2:
        return None
    whole = numbers.astype(np.int64)
    if (whole != numbers).any():
        return None
    for find in _FINDERS:
        if (found := find(whole)) is not None:
            return found
    return None


def _sure(numbers: NDArray, found: _Found) -> bool:
    """Whether there are enough different numbers to be sure of `found`."""
    short = isinstance(found, DateColumn) and numbers.max() >= 10**8
    return not short or bool((numbers != numbers[0]).any())


def _checked(numbers: NDArray, found: _Found) -> _Found:
    """`found`, or a text with the reason if a short year is as likely as seconds since 1970."""
    if not isinstance(found, DateColumn):
        return found
    for unit, scale in (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6)):
        now = _NOW[0] * scale <= numbers.min() and numbers.max() < _NOW[1] * scale
        if now and len(np.unique(numbers)) < _MANY:
            return (
                f"has numbers such as {int(numbers[0])} that can be {unit} since 1970 or the "
                "digits of a date: write them as 2024-01-31"
            )
    return found


def _year_first(whole: _Ints) -> Instants | None:
    digits = len(str(whole[0]))
    if digits not in _YEAR_FIRST or not _within(whole, digits, digits):
        return None
    date, clock = _split(whole, *_YEAR_FIRST[digits])
    if clock is None:
        return None
    rest, day = np.divmod(date, 100)
    year, month = np.divmod(rest, 100)
    return clock.on(year, month, day) if _exists(year, month, day, _EVER) else None


def _months(whole: _Ints) -> str | None:
    """Recognises `YYYYMM`, which is in order, and `MMYYYY`, which is not."""
    if whole.max() >= 10**6:
        return None
    year, month = np.divmod(whole, 100)
    if _exists(year, month, np.ones_like(year), _RECENT):
        return _ORDER
    month, year = np.divmod(whole, 10**4)
    if not _exists(year, month, np.ones_like(year), _RECENT):
        return None
    return _ORDER if (month == month[0]).all() else _year_last_reason(whole)


def _year_last(whole: _Ints) -> str | None:
    for more, parts in _OTHERS.items():
        if not _within(whole, 7 + more, 8 + more):
            continue
        date, clock = _split(whole, *parts)
        rest, year = np.divmod(date, 10**4)
        first, second = np.divmod(rest, 100)
        for day, month in ((first, second), (second, first)):
            if clock is not None and _exists(year, month, day, _RECENT if more else _EVER):
                return _year_last_reason(whole)
    return None


def _year_last_reason(whole: _Ints) -> str:
    return (
        f"has dates such as {whole[0]}, the year last, whose order is not that of the numbers: "
        "write them as 2024-01-31"
    )


def _short_year(whole: _Ints) -> DateColumn | None:
    for more, parts in _OTHERS.items():
        if not _within(whole, 5 + more, 6 + more):
            continue
        if more < 4 and whole.max() < 10 ** (5 + more):  # more likely another kind of numbers
            continue
        date, clock = _split(whole, *parts)
        if clock is None:
            continue
        rest, third = np.divmod(date, 100)
        first, second = np.divmod(rest, 100)
        readings = {}
        for way, year, month, day in (
            ("dmy", third, second, first),
            ("mdy", third, first, second),
            ("ymd", first, second, third),
        ):
            year = full_years(year)
            if _exists(year, month, day, _RECENT):
                readings[way] = Reading.of(clock.on(year, month, day), year, day)
        if readings:
            return DateColumn.of_digits(f"{6 + more} digits", str(whole[0]), readings)
    return None


_FINDERS: tuple[_Finder, ...] = (_year_first, _months, _year_last, _short_year)


class _Clock:
    """Times of day."""

    def __init__(self, seconds: _Ints, nanos: _Ints) -> None:
        self._seconds, self._nanos = seconds, nanos

    def on(self, year: _Ints, month: _Ints, day: _Ints) -> Instants:
        """The instants of these times on these days."""
        seconds = days_since_1970(year, month, day) * 86400 + self._seconds
        return Instants.of_parts(seconds, self._nanos)


def _split(whole: _Ints, parts: int, fraction: int) -> tuple[_Ints, _Clock | None]:
    """The dates (as digits), and the times of so many `parts` and digits of a `fraction` that
    follow them; None for no times.
    """
    whole, rest = np.divmod(whole, 10**fraction)
    clock = [np.zeros_like(whole)] * 3
    for n in reversed(range(parts)):
        whole, clock[n] = np.divmod(whole, 100)
    hour, minute, second = clock
    if (hour > 23).any() or (minute > 59).any() or (second > 60).any():
        return whole, None
    return whole, _Clock(hour * 3600 + minute * 60 + second, rest * 10 ** (9 - fraction))


def _within(whole: _Ints, least: int, most: int) -> bool:
    """Whether all numbers have `least` to `most` digits."""
    return 10 ** (least - 1) <= int(whole.min()) and int(whole.max()) < 10**most


def _exists(year: _Ints, month: _Ints, day: _Ints, years: tuple[int, int]) -> bool:
    good = (((year >= years[0]) & (year <= years[1])) | (year == 9999)) & (month >= 1)
    good &= (month <= 12) & (day >= 1)
    return bool(good.all() and (day <= days_in(year, month)).all())
