"""Times of any number of files, compared as points in time, or not at all.

A file has times in one of these forms; a column in no such form has no order, with a reason.

| written as | read as |
|---|---|
| parquet timestamps and dates of any unit | their instants |
| text with a date | dates in one form for the whole column (`dates.py`) |
| numbers such as 20231114 or 20231114221320 | the date and time their digits spell (`digits.py`) |
| Windows FILETIME, .NET ticks of 2000 to 2035 | 100 ns since 1601 or the year 1 |
| numbers with sizes of times in 1973 to 2100 | seconds, milli-, micro- or nanoseconds since 1970 |
| other numbers | order numbers, comparable only with order numbers of the same size |

A zone counts if it is written; a time without one is taken as UTC. Nothing is raised while files
are read, so that a time column does not stop a search that needs no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.cells import ColumnProblem, numbers_of
from recsys.data.dates import DateColumn, agree
from recsys.data.digits import dates_of_digits
from recsys.data.instants import Instants, concatenate
from recsys.data.stream import shown

UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_LEAST, _MOST = 1e8, 4.2e9  # seconds since 1970: 1973-03-03 and 2103-02-03
_NAT = -(2**63)  # pandas' value for a missing time
_PLACEHOLDERS = {
    0: "1970-01-01 00:00:00 (0)",
    -1: "1969-12-31 23:59:59 (-1)",
    -2_208_988_800: "1900-01-01 00:00:00",
    -2_209_161_600: "1899-12-30 00:00:00",
    -62_135_596_800: "0001-01-01 00:00:00",
}
_NO_TIME = (0, -1)  # values for a missing time among numbers that spell dates
_ROUNDED = r"^-?\d(\.\d{1,5})?[eE]\+(09|1\d)$"
_FAR = 10**8  # seconds: three years
_YEAR_9999 = (253_370_764_800, 253_402_300_800)  # in seconds: it means "never"
# by name, the seconds from its start to 1970; as nanoseconds since 1970, they would be in 1974 and
# 1990
_TICKS = {
    "Windows FILETIME (100 ns since 1601)": 11_644_473_600,
    ".NET ticks (100 ns since the year 1)": 62_135_596_800,
}
_TICKED = (946_684_800, 2_082_758_400)  # seconds since 1970: 2000 to 2035
_USUAL = (788_918_400, 2_082_758_400)  # 1995 to 2035
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, eq=False)
class Times:
    """What `TimeColumn.finish` found. keys: to sort by, int64 or float64; or a `problem`.

    seconds: the points in time since 1970, int64. span: the first and the last of them. Both are
    None for order numbers.
    """

    keys: NDArray | None
    problem: ColumnProblem | None = None
    notes: tuple[str, ...] = ()
    span: tuple[int, int] | None = None
    seconds: NDArray[np.int64] | None = None


@dataclass
class _File:
    label: str
    kind: Literal["", "number", "date", "instant"] = ""
    numbers: list[NDArray] = field(default_factory=list)
    instants: list[Instants] = field(default_factory=list)
    dates: DateColumn = field(default_factory=DateColumn)
    zones: set[bool] = field(default_factory=set)  # whether times have a zone: both if some do
    notes: list[str] = field(default_factory=list)
    problem: tuple[int | None, str] | None = None


class TimeColumn:
    """The times of any number of files, each in batches."""

    def __init__(self) -> None:
        self._files: list[_File] = []

    def begin(self, label: str) -> None:
        """The next batches are from the file that messages call `label`."""
        self._files.append(_File(label))

    def drop(self) -> None:
        """Forget the file that began last, since it has no rows."""
        self._files.pop()

    def add(self, times: pa.Array, rows: NDArray[np.int64]) -> None:
        """Append a batch of any type. rows: the place of each time in the file, from 0."""
        own = self._files[-1]
        if not len(times) or own.problem is not None:
            return
        try:
            _add(own, times)
        except _CellError as error:
            self.leave_out(None if error.at is None else int(rows[error.at]), error.what)

    def leave_out(self, row: int | None, what: str) -> None:
        """Do without the times of the file that began last, because of `what` is wrong with a row
        of it, if that is known.
        """
        own = self._files[-1]
        if own.problem is None:
            own.problem = (row, what)
            own.numbers, own.instants, own.dates = [], [], DateColumn()

    def finish(self, files: int | None = None) -> Times:
        """The times of the first `files` files (None: all), in the order of addition."""
        taken, self._files = self._files[:files], []
        for n, own in enumerate(taken):
            if own.problem is None and own.kind == "number":
                _spell(own)
            if own.problem is not None:
                return Times(None, ColumnProblem(n, *own.problem))
        agree([own.dates for own in taken if own.kind == "date"])
        found: dict[int, _Reading | ColumnProblem] = {}
        # Numbers last: the dates of other files show how numbers can be read.
        for n in sorted(range(len(taken)), key=lambda n: taken[n].kind == "number"):
            if taken[n].kind:
                dated = [known for known in found.values() if isinstance(known, Instants)]
                try:
                    found[n] = _read(taken[n], dated)
                except _CellError as error:
                    found[n] = ColumnProblem(n, error.at, error.what)
        readings = []
        for n in sorted(found):
            reading = found[n]
            if isinstance(reading, ColumnProblem):
                return Times(None, reading)
            readings.append((n, reading))
        return _compare(readings, taken)


class _CellError(Exception):
    """A time that cannot be used. at: its place in the batch (or file); None: the whole column."""

    def __init__(self, at: int | None, what: str) -> None:
        super().__init__(at, what)
        self.at, self.what = at, what


def _add(own: _File, times: pa.Array) -> None:
    if pa.types.is_dictionary(times.type):
        times = times.dictionary_decode()
    kind = times.type
    if times.null_count:
        raise _CellError(pc.index(pc.is_null(times), pa.scalar(True)).as_py(), "is missing")
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        _enter(own, "instant", None)
        own.instants.append(_instants(times))
        own.zones.add(pa.types.is_timestamp(kind) and kind.tz is not None)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        _add_texts(own, times)
    else:
        numbers = _numbers(times)
        _enter(own, "number", 0)
        own.numbers.append(numbers)


def _enter(own: _File, kind: Literal["number", "date", "instant"], at: int | None) -> None:
    if own.kind not in ("", kind):
        raise _CellError(at, f"is a {kind}: expected a {own.kind}, as in the rows before")
    own.kind = kind


def _instants(times: pa.Array) -> Instants:
    if pa.types.is_date32(times.type):
        days = pc.cast(times, pa.int32()).to_numpy(zero_copy_only=False).astype(np.int64)
        return Instants(days * 86400)
    values = pc.cast(times, pa.int64()).to_numpy(zero_copy_only=False)
    unit = "ms" if pa.types.is_date64(times.type) else times.type.unit
    return Instants.of_units(values, _PER_SECOND[unit])


def _numbers(values: pa.Array) -> NDArray:
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        try:
            exact = pc.cast(values, pa.int64())
        except pa.ArrowInvalid:
            exact = pc.cast(values, pa.float64(), safe=False)
        return exact.to_numpy(zero_copy_only=False)
    if not pa.types.is_floating(kind):
        raise _CellError(None, f"has type {kind}: expected numbers, dates or times")
    return _finite(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False))


def _finite(numbers: NDArray) -> NDArray:
    bad = ~np.isfinite(numbers)
    if bad.any():
        at = int(bad.argmax())
        raise _CellError(at, f"is {numbers[at]}: expected a finite number")
    return numbers


def _add_texts(own: _File, texts: pa.Array) -> None:
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raise _CellError(None, "is not UTF-8 in some rows") from None
    texts = pc.utf8_trim_whitespace(texts)
    if own.kind != "date" and _is_number(texts[0].as_py()):
        numbers = numbers_of(texts)  # a failure here costs more than everything else
        if numbers is not None:
            _finite(numbers)
            _check_rounded(texts)
            _enter(own, "number", 0)
            with suppress(pa.ArrowInvalid):  # exact, whereas a float would round nanoseconds
                numbers = pc.cast(texts, pa.int64()).to_numpy(zero_copy_only=False)
            own.numbers.append(numbers)
            return
    bad = own.dates.add(texts)
    if bad is None:
        _enter(own, "date", 0)
        return
    cell = texts[bad].as_py()
    wanted = {
        "": "a number or a date such as 2024-01-31, written alike in all rows",
        "number": "a number, as in the rows before",
        "date": f"a date such as {own.dates.example}, as in the rows before",
    }[own.kind]
    if own.kind == "number" or (not own.kind and _is_number(texts[0].as_py())):
        bad = next(n for n, text in enumerate(texts.to_pylist()) if not _is_number(text))
        cell, wanted = texts[bad].as_py(), "a number, as in the rows before"
    raise _CellError(bad, f"is {shown(cell)}: expected {wanted}")


def _check_rounded(texts: pa.Array) -> None:
    """Raise _CellError for long numbers as Excel shows them, 1.70E+12: their order is lost.

    A single one among many in full can be a round number, which R writes like that.
    """
    short = pc.match_substring_regex(texts, _ROUNDED)
    if pc.any(short).as_py() and pc.mean(short).as_py() > 0.1:
        at = pc.index(short, pa.scalar(True)).as_py()
        raise _CellError(
            at, f"is {shown(texts[at].as_py())}, a rounded number: expected all digits"
        )


def _is_number(text: str) -> bool:
    numbers = numbers_of(pa.array([text]))
    return numbers is not None and bool(np.isfinite(numbers).all())


# the times of a file: points in time, or numbers of an unknown unit, with their size
_Reading = Instants | tuple[NDArray, int]


def _spell(own: _File) -> None:
    """Turn numbers whose digits are dates into dates, or into a problem."""
    numbers = np.concatenate(own.numbers)
    own.numbers = [numbers]
    odd = np.isin(numbers, _NO_TIME)
    dated = numbers[~odd] if odd.any() else numbers
    found = dates_of_digits(dated)
    if found is None:
        return
    own.numbers = []
    if len(dated) < len(numbers):
        what = f"has {numbers[odd][0]:g} among dates such as {dated[0]:.0f}"
        own.problem = (None, f"{what}: expected a date in every row")
        return
    if isinstance(found, str):
        own.problem = (None, found)
    elif isinstance(found, DateColumn):
        own.kind, own.dates = "date", found
    else:
        own.kind, own.instants = "instant", [found]
        own.zones.add(False)


def _read(own: _File, dated: Sequence[Instants]) -> _Reading:
    """The times of a file. dated: the known times of the other files."""
    if own.kind == "instant":
        return concatenate(own.instants)
    if own.kind == "date":
        zones, dates = own.dates.zones, own.dates.finish()
        own.zones |= zones
        own.notes += own.dates.notes
        if isinstance(dates, str):
            raise _CellError(None, dates)
        return dates
    (numbers,) = own.numbers
    own.numbers = []
    ticks = _ticks(own, numbers, dated)
    return _sized(own, numbers) if ticks is None else ticks


def _ticks(own: _File, numbers: NDArray, dated: Sequence[Instants]) -> Instants | None:
    """The times of numbers that count 100 ns since a year other than 1970; None if they do not, or
    if other files have times before 2000, since as nanoseconds since 1970 they would be as old.
    """
    if any(known.seconds.min(initial=_TICKED[0]) < _TICKED[0] for known in dated):
        return None
    for name, offset in _TICKS.items():
        low, high = ((moment + offset) * 10**7 for moment in _TICKED)
        if numbers.min() >= low and numbers.max() < high:
            own.zones.add(True)
            own.notes.append(f"times are read as {name}")
            since = Instants.of_units(numbers, 10**7)
            return Instants(since.seconds - offset, since.nanos)
    return None


def _sized(own: _File, numbers: NDArray) -> _Reading:
    """Numbers by their size: their unit, if they can be times of 1973 to 2103."""
    if numbers.dtype == np.int64 and (numbers == _NAT).any():
        raise _CellError(None, "is missing in some rows (NaT, written as -9223372036854775808)")
    size = np.abs(numbers.astype(np.float64))
    units = list(UNITS)
    largest = size.max(initial=0.0)
    for scale in UNITS.values():  # a year 9999 means "never" and does not show the unit
        never = (numbers >= _YEAR_9999[0] * scale) & (numbers < _YEAR_9999[1] * scale)
        rest = size[~never].max(initial=0.0)
        if never.any() and _LEAST * scale <= rest <= _MOST * scale:
            largest = rest
            size = np.where(never, rest, size)
            break
    for at, name in enumerate(units):
        for smaller in units[:at]:
            low, high = _LEAST * UNITS[smaller], _MOST * UNITS[smaller]
            if largest >= _LEAST * UNITS[name] and ((size >= low) & (size <= high)).any():
                one, other = numbers[(size >= low) & (size <= high)][0], numbers[size.argmax()]
                raise _CellError(
                    None,
                    f"mixes {smaller} ({one}) and {name} ({other}): expected one unit",
                )
    for name in units:
        if _LEAST * UNITS[name] <= largest <= _MOST * UNITS[name]:
            own.zones.add(True)
            own.notes += _unusual(largest, numbers, name)
            return Instants.of_units(numbers, UNITS[name])
    return numbers, int(np.digitize(largest, [_LEAST * scale for scale in UNITS.values()]))


def _unusual(largest: float, numbers: NDArray, unit: str) -> list[str]:
    """A note if no time is in the usual years of interactions: the unit may be wrong."""
    low, high = (moment * UNITS[unit] for moment in _USUAL)
    if largest < low:
        where = "before 1995"
    elif len(numbers) and numbers.min() >= high:
        where = "after 2035"
    else:
        return []
    return [
        f"times such as {numbers[0]} are read as {unit} since 1970, which puts all of them "
        f"{where}: if that is wrong, use only their order and not their dates (split.order=time)"
    ]


def _compare(readings: list[tuple[int, _Reading]], files: list[_File]) -> Times:
    instants = [(n, r) for n, r in readings if isinstance(r, Instants)]
    numbers = [(n, r) for n, r in readings if not isinstance(r, Instants)]
    if instants and numbers:
        (first, _), (other, (values, _)) = instants[0], numbers[0]
        late = max(first, other)
        label = files[first if late == other else other].label
        dates, order = "points in time", f"order numbers (up to {values.max():g})"
        mine, theirs = (order, dates) if late == other else (dates, order)
        what = f"holds {mine}, but {label} has {theirs}: they cannot be compared"
        return Times(None, ColumnProblem(late, None, what))
    notes = tuple(dict.fromkeys(note for own in files for note in own.notes))
    if numbers:
        (first, (_, size)) = numbers[0]
        for n, (values, own) in numbers[1:]:
            if own != size:
                what = (
                    f"holds numbers up to {values.max():g} of an unknown unit, unlike "
                    f"{files[first].label}: they cannot be compared"
                )
                return Times(None, ColumnProblem(n, None, what))
        keys = np.concatenate([values for _, (values, _) in numbers])
        return Times(keys, notes=_constant(keys))
    zones: set[bool] = set().union(*(own.zones for own in files))
    if len(zones) > 1:
        notes += ("times without a zone are taken as UTC",)
    if not instants:
        return Times(np.empty(0, np.int64))
    every = concatenate([reading for _, reading in instants])
    span = (int(every.seconds.min()), int(every.seconds.max())) if len(every) else None
    keys = every.keys()
    notes += _constant(keys) or _placeholders(every.seconds)
    return Times(keys, notes=notes, span=span, seconds=every.seconds)


def _constant(keys: NDArray) -> tuple[str, ...]:
    if len(keys) < 2 or (keys != keys[0]).any():
        return ()
    return ("all times are the same: the order of the rows decides instead",)


def _placeholders(seconds: NDArray[np.int64]) -> tuple[str, ...]:
    """A note for each moment that may mean a missing time: it is years away from all others, and
    either one that programs write for a missing time, or the first or last moment, in more than
    one row.
    """
    if not len(seconds) or np.bincount((seconds - seconds.min()) // (_FAR // 2)).all():
        return ()  # no gap can be that long: the usual case, without the cost of sorting
    moments, counts = np.unique(seconds, return_counts=True)
    usual = np.isin(moments, list(_PLACEHOLDERS))
    never = moments >= _YEAR_9999[0]
    while True:  # the outermost first: there may be another one further in
        others = moments[~(usual | never)]
        if len(others) < 3:  # of two moments, neither is the odd one
            break
        for end, beside in ((others[0], others[1]), (others[-1], others[-2])):
            at = np.searchsorted(moments, end)
            if abs(int(end) - int(beside)) > _FAR and counts[at] > 1:
                usual[at] = True
                break
        else:
            break
    notes = []
    for moment, count in zip(moments[usual | never], counts[usual | never], strict=True):
        if len(others) and np.abs(others - moment).min() > _FAR:
            name = _PLACEHOLDERS.get(int(moment)) or _written(int(moment))
            notes.append(
                f"{'1 time is' if count == 1 else f'{count:,} times are'} {name}, years from all "
                "others, and taken as real; if that means that a time is missing, leave these rows "
                "out, or all times with --columns timestamp=none"
            )
    return tuple(notes)


def _written(moment: int) -> str:
    return str(np.datetime64(moment, "s")).replace("T", " ")
