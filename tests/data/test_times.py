"""Times are points in time, however they are written, or they have no order and say why."""

import datetime as dt
import io
from collections.abc import Callable
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.dates import SHAPES, DateColumn, _quick
from recsys.data.instants import Instants, concatenate
from recsys.data.read import load_path
from recsys.data.times import TimeColumn, Times
from recsys.errors import InputError
from recsys.split import HoldOut, SplitPlan, make_split
from tests.data.conftest import pairs

UTC = dt.UTC
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
DAY = dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def times_of(*files: object, batch: int | None = None) -> Times:
    """The times of files, given as arrays or lists, in batches of this size."""
    column = TimeColumn()
    for n, values in enumerate(files):
        column.begin(f"file{n}")
        array = values if isinstance(values, pa.Array) else pa.array(values)
        step = batch or max(1, len(array))
        for at in range(0, len(array), step):
            piece = array[at : at + step]
            column.add(piece, np.arange(at, at + len(piece)))
    return column.finish()


def reason(*files: object) -> str:
    found = times_of(*files)
    assert found.keys is None
    assert found.problem is not None
    return found.problem.what


def second(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(seconds=1)


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14 22:13:20 UTC",
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.000Z",
        "2023-11-14 22:13:20+00:00",
        "2023-11-14 22:13:20+00",
        "2023-11-14T23:13:20+0100",
        "2023-11-14 17:13:20 -05:00",
        "2023-11-14T23:13:20+01:00[Europe/Berlin]",
        "2023-11-14 22:13:20,000",
        "2023/11/14 22:13:20",
        "2023.11.14 22:13:20",
        "2023-11-14, 22:13:20",
        "20231114T221320Z",
        "20231114 22:13:20",
        "20231114221320",
        "11/14/2023 22:13:20",
        "11/14/2023 10:13:20 PM",
        "11/14/2023, 10:13:20\u202fPM",
        "11/14/2023 10:13:20 p.m.",
        "11/14/23 22:13:20",
        "14.11.2023 22:13:20",
        "14-11-2023 22:13:20",
        "14-Nov-2023 22:13:20",
        "14 November 2023 22:13:20",
        "14/Nov/2023:22:13:20 +0000",
        "Nov 14, 2023 10:13:20 PM",
        "Tue Nov 14 22:13:20 +0000 2023",
        "Tue Nov 14 22:13:20 2023",
        "Tue Nov 14 2023 23:13:20 GMT+0100 (CET)",
        "Tue, 14 Nov 2023 22:13:20 GMT",
        " 2023-11-14 22:13:20 ",
        "1700000000",
        "1700000000.0",
        "1700000000000",
        "1700000000000000",
        "1700000000000000000",
        "1.7e9",
    ],
)
def test_one_instant_in_many_ways_of_writing(text):
    iso = pa.array([DAY], pa.timestamp("us", "UTC"))
    assert times_of([text], iso).keys.tolist() == [1_700_000_000] * 2


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14",
        "20231114",
        "11/14/2023",
        "14.11.2023",
        "Nov 14, 2023",
        "11 14, 2023",
    ],
)
def test_one_day_in_many_ways_of_writing(text):
    day = pa.array([DAY.date()], pa.date32())
    assert times_of([text], day).keys.tolist() == [1_699_920_000] * 2
    assert times_of([text], day.cast(pa.date64())).keys.tolist() == [1_699_920_000] * 2


def test_midnight_and_noon_of_the_twelve_hour_clock():
    found = times_of(["1/13/2024 12:00 AM", "1/13/2024 12:00 PM", "1/13/2024 1:00 AM"])
    assert np.argsort(found.keys).tolist() == [0, 2, 1]


@pytest.mark.parametrize("separator", ["/", ".", "-"])
def test_a_day_above_twelve_tells_day_from_month(separator):
    def column(*rows: str) -> list[str]:
        return [row.replace("/", separator) for row in rows]

    first = column("01/02/2023", "13/01/2023")
    assert np.argsort(times_of(first).keys).tolist() == [1, 0]
    # the other file is read as this one shows
    assert np.argsort(times_of(first, column("03/01/2023")).keys).tolist() == [2, 1, 0]
    assert "day/month or as month/day" in reason(column("01/02/2023", "03/01/2023"))
    # each file may have its own way, as long as it shows it
    assert np.argsort(times_of(first, column("01/14/2023")).keys).tolist() == [1, 2, 0]
    assert "month/day" in reason(first, column("01/14/2023"), column("03/01/2023"))
    assert times_of(column("02/02/2023", "03/03/2023")).keys is not None  # the same both ways


def test_batches_make_no_difference():
    rows = ["1/2/2023", "1/3/2023", "1/13/2023", "2/1/2023"]
    assert times_of(rows, batch=1).keys.tolist() == times_of(rows).keys.tolist()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([["soon"]], "is 'soon': expected a number or a date such as 2024-01-31"),
        ([[""]], "is ''"),
        ([["2024-02-30"]], "2024-02-30"),
        ([["0000-00-00 00:00:00"]], "0000-00-00"),
        ([["2024-01-31", "7"]], "is '7'"),
        ([["7", "2024-01-31"]], "is '2024-01-31': expected a number"),
        ([["2024-01-31 10:00 EST"]], "EST"),
        ([["10:00:00"]], "10:00:00"),
        ([["31012024", "01022024"]], "the year last"),
        ([["nan"]], "is 'nan': expected a number or a date"),
        ([[1.0, float("inf")]], "finite"),
        ([[1.0, None]], "is missing"),
        ([[DAY, None]], "is missing"),
        ([[True]], "has type bool"),
        ([[[1]]], "has type list"),
        ([pa.array([1], pa.duration("s"))], "has type duration"),
        ([pa.array([1], pa.time64("us"))], "has type time64"),
        ([[1_700_000_000, -(2**63)]], "NaT"),
        ([[1_700_000_000, 1_700_000_000_123]], "mixes seconds"),
        ([[1_700_000_000_000, 1_700_000_000_123_000_000]], "mixes milliseconds"),
        ([[1, 2, 3], [DAY]], "cannot be compared"),
        ([["2023-11-14"], [1, 2]], "order numbers (up to 2)"),
        ([[1, 2], [1_700_000_000]], "order numbers (up to 2)"),
        ([[30_000_000], [30_000_000_000]], "unknown unit"),
    ],
)
def test_what_has_no_order_says_why(files, words):
    assert words in reason(*files)


def test_years_that_say_never():
    never = [253_402_300_799, 1_700_000_000]
    assert times_of(never, [DAY]).keys.tolist() == [*never, second(DAY)]
    millis = [value * 1000 for value in never]
    assert times_of(millis, [DAY]).keys.tolist() == [*never, second(DAY)]
    text = ["9999-12-31 23:59:59", "0001-01-01"]
    assert np.argsort(times_of(text, ["2023-11-14T00:00:00.000000001Z"]).keys).tolist() == [1, 2, 0]
    assert times_of([99991231, 20231114]).keys.tolist() == [253_402_214_400, 1_699_920_000]


def test_zero_is_an_instant_beside_times_and_a_number_beside_numbers():
    assert times_of([0, 1_700_000_000_000], [DAY]).keys.tolist()[0] == 0
    assert times_of([0, 5, 3], [2]).keys.tolist() == [0, 5, 3, 2]
    assert times_of([0.5, 5], [2]).keys.tolist() == [0.5, 5, 2]


def test_a_mixture_of_zones_is_said_and_compared():
    found = times_of(["2023-11-14 22:13:20", "2023-11-14T22:13:20+01:00", "2023-11-14T22:13:20Z"])
    assert np.argsort(found.keys, kind="stable").tolist() == [1, 0, 2]
    assert "times without a zone are taken as UTC" in found.notes
    assert times_of(["2023-11-14 22:13:20"]).notes == ()
    naive = pa.array([DAY.replace(tzinfo=None)], pa.timestamp("ns"))
    assert times_of(naive, ["2023-11-14T22:13:20Z"]).notes


# counts of an earlier or later year can be read as digits of a date, or as ticks of Windows
instants = st.datetimes(
    dt.datetime(1995, 1, 1), dt.datetime(2029, 12, 31), timezones=st.just(UTC)
).map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000))
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])


def _micros(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def _stamps(unit: str, zone: str | None) -> Callable[[list[dt.datetime]], pa.Array]:
    def make(moments: list[dt.datetime]) -> pa.Array:
        return pa.array([_micros(m) for m in moments], pa.timestamp("us", zone)).cast(
            pa.timestamp(unit, zone)
        )

    return make


def _texts(format: str) -> Callable[[list[dt.datetime]], pa.Array]:
    return lambda moments: pa.array([m.strftime(format) for m in moments])


def _numbers(scale: int, kind: type) -> Callable[[list[dt.datetime]], pa.Array]:
    """In units of `scale` a second; floats keep their fraction."""
    return lambda moments: pa.array(
        [
            kind(_micros(m) * scale // 10**6 if kind is not float else _micros(m) / 1e6 * scale)
            for m in moments
        ]
    )


def _local(moments: list[dt.datetime]) -> pa.Array:
    """Each in a zone of its own, summer time and all."""
    names = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"]
    own = [m.astimezone(ZoneInfo(names[n % 4])) for n, m in enumerate(moments)]
    return pa.array([m.isoformat(sep=" " if n % 2 else "T") for n, m in enumerate(own)])


WAYS = [
    *(_stamps(unit, zone) for unit in ("ms", "us", "ns") for zone in (None, "Europe/Berlin")),
    *(_numbers(scale, int) for scale in (10**3, 10**6, 10**9)),
    *(_numbers(scale, str) for scale in (10**3, 10**6, 10**9)),
    *(_numbers(scale, float) for scale in (1, 10**3, 10**6)),
    *map(_texts, ["%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%d %H:%M:%S.%f UTC"]),
    *map(_texts, ["%Y/%m/%d %I:%M:%S.%f %p", "%d %b %Y %H:%M:%S.%f", "%b %d, %Y, %H:%M:%S.%f"]),
    _local,
]


@settings(max_examples=150, deadline=None, database=None)
@given(
    st.lists(instants, min_size=1, max_size=12),
    st.lists(st.sampled_from(WAYS), min_size=1, max_size=4),
    st.integers(1, 5),
)
def test_the_same_instants_in_any_writing_have_the_same_keys(moments, ways, batch):
    exact = [_micros(m) for m in moments]
    files = [way(moments) for way in ways]
    found = times_of(*files, batch=batch)
    assert found.keys is not None, found.problem
    keys = found.keys.tolist()
    # as keys of all files together, they order and equal one another as the instants do
    wanted = exact * len(ways)
    assert _ranks(keys) == _ranks(wanted)


def _ranks(values: list[int]) -> list[int]:
    place = {value: n for n, value in enumerate(sorted(set(values)))}
    return [place[value] for value in values]


anywhen = st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(st.one_of(anywhen, instants), min_size=1, max_size=8),
    st.lists(st.sampled_from(WAYS[6:12]), min_size=1, max_size=3),
)
def test_numbers_of_any_year_are_in_order_or_refused(moments, ways):
    """With a date column beside them, so that their unit matters.

    Up to the year 5000: the milliseconds of 5139 are the microseconds of 1973.
    """
    moments = [m.replace(year=min(m.year, 5000)) for m in moments if (m.month, m.day) != (2, 29)]
    exact = [_micros(m) for m in moments]
    files = [WAYS[12 + 4](moments)]
    for way in ways:
        try:
            files.append(way(moments))
        except OverflowError:  # nanoseconds of a far year
            return
    found = times_of(*files)
    if found.keys is not None:
        assert _ranks(found.keys.tolist()) == _ranks(exact * len(files))


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(st.one_of(anywhen, instants), min_size=1, max_size=9), st.booleans())
def test_the_quick_parser_has_a_slow_twin(moments, zoned):
    texts = pa.array([m.strftime("%Y-%m-%d %H:%M:%S.%f").zfill(26) + "Z" * zoned for m in moments])
    quick = _quick(texts)
    assert quick is not None
    slow = DateColumn()
    slow.shape, slow.ways, slow._chunks = "ymd", ["ymd"], {"ymd": []}
    from recsys.data.dates import _Fields

    pattern = SHAPES["ymd"][0]
    fields = pa.compute.extract_regex(texts, f"^(?:{pattern})$")
    assert slow._add_fields("ymd", _Fields(fields)) is None
    twin = slow.finish()
    assert isinstance(twin, Instants)
    assert twin.keys().tolist() == quick[0].keys().tolist()
    assert slow.zones == {zoned} == {quick[1]}
    wanted = [(_micros(m) // 10**6, _micros(m) % 10**6 * 1000) for m in moments]
    nanos = np.zeros(len(moments), int) if twin.nanos is None else twin.nanos
    assert list(zip(twin.seconds.tolist(), nanos.tolist(), strict=True)) == wanted


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(-(10**12), 10**12), st.integers(0, 10**9 - 1)), min_size=1))
def test_keys_order_as_the_parts_do(rows):
    seconds, nanos = np.array(rows).T
    found = concatenate([Instants(np.array([0])), Instants.of_parts(seconds, nanos)]).keys()
    assert _ranks(found.tolist()) == _ranks([(0, 0), *rows])  # type: ignore[list-item]


def _parquet(items: list[str], times: pa.Array) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"user": ["u"] * len(items), "item": items, "time": times}), out)
    return out.getvalue()


@settings(max_examples=40, deadline=None, database=None)
@given(
    st.lists(instants, min_size=6, max_size=12, unique=True),
    st.lists(st.sampled_from(WAYS), min_size=2, max_size=2),
    st.lists(st.booleans(), min_size=2, max_size=2),
)
def test_any_writing_gives_the_same_history_and_latest_split(
    tmp_path_factory, moments, ways, kinds
):
    folder = tmp_path_factory.mktemp("times")
    names = [f"i{n}" for n in range(len(moments))]
    half = len(moments) // 2
    for part, at, way, columnar in zip(
        ("train", "valid"), (slice(0, half), slice(half, None)), ways, kinds, strict=True
    ):
        times = way(moments[at])
        if columnar:
            (folder / f"{part}.parquet").write_bytes(_parquet(names[at], times))
        elif pa.types.is_timestamp(times.type):
            times = pa.array([str(t.as_py()) for t in times])
            columnar = False
        if not columnar:
            rows = zip(names[at], times.to_pylist(), strict=True)
            text = "".join(f'u,{name},"{time}"\n' for name, time in rows)
            (folder / f"{part}.csv").write_text("user,item,time\n" + text)
    data = load_path(folder)
    assert data.interactions.ordered
    in_time = [names[n] for n in sorted(range(len(moments)), key=lambda n: moments[n])]
    assert [item for _, item in pairs(data)] == in_time
    plan = SplitPlan("latest", HoldOut("fixed", 2), HoldOut("fixed", 1))
    split = make_split(load_path(folder), plan, 0)
    last = {in_time[n] for n in (-1, -2)} if data.ready_valid is None else set()
    assert split.test is not None
    free = [n for n in in_time if n not in names[half:]]
    found = {data.interactions.item_ids[n] for n in split.test.row(0)}
    assert found == (last or set(free[-2:]))


def test_an_unreadable_time_stops_only_who_needs_the_order(write):
    path = write("x.csv", "user,item,time\n1,2,5\n1,3,\n1,4,7\n1,5,6\n")
    data = load_path(path)
    assert pairs(data) == [(1, 2), (1, 3), (1, 4), (1, 5)]
    assert not data.interactions.ordered
    (note,) = data.interactions.notes
    assert note.startswith("the times are left out: ")
    assert "x.csv: line 3, column time: the time is '': expected a number" in note
    make_split(data, SplitPlan("random", None, HoldOut("fixed", 1)), 0)
    with pytest.raises(InputError, match="line 3, column time: the time is ''"):
        make_split(data, SplitPlan("latest", None, HoldOut("fixed", 1)), 0)


def test_the_row_is_named_although_low_ratings_are_left_out(write):
    text = "user,item,rating,time\n1,2,1,x\n1,3,5,5\n\n1,4,1,x\n1,5,5,x\n"
    data = load_path(write("x.csv", text), min_rating=3)
    assert "line 6, column time: the time is 'x'" in data.interactions.order_problem
    frame = pa.table({"user": [1, 1], "item": [2, 3], "rating": [1, 5], "time": ["7", "x"]})
    out = io.BytesIO()
    pq.write_table(frame, out)
    data = load_path(write("x.parquet", out.getvalue()), min_rating=3)
    assert "x.parquet: row 2, column time: the time is 'x'" in data.interactions.order_problem


def test_times_of_a_ready_test_part_do_not_matter(write, tmp_path):
    write("d/train.csv", "user,item,time\n1,2,7\n1,3,5\n")
    write("d/test.csv", "user,item,time\n1,4,whenever\n")
    data = load_path(tmp_path / "d")
    assert pairs(data) == [(1, 3), (1, 2)]
    assert data.interactions.ordered
    assert not any("time" in note for note in data.interactions.notes)


def test_parts_of_different_units(write, tmp_path):
    early = pa.array([DAY.replace(tzinfo=None)], pa.timestamp("ns"))
    late = pa.array([(DAY + dt.timedelta(hours=1)).replace(tzinfo=None)], pa.timestamp("us"))
    write("d/train.parquet", _parquet(["early"], early))
    write("d/valid.parquet", _parquet(["late"], late))
    assert [item for _, item in pairs(load_path(tmp_path / "d"))] == ["early", "late"]
    write("d/valid.parquet", _parquet(["late"], pa.array([3])))
    data = load_path(tmp_path / "d")
    assert not data.interactions.ordered
    assert "cannot be compared" in data.interactions.order_problem


@pytest.mark.parametrize(
    ("odd", "name"),
    [
        (0, "1970-01-01 00:00:00 (0)"),
        (-1, "1969-12-31 23:59:59 (-1)"),
        ("1970-01-01", "1970-01-01 00:00:00 (0)"),
        ("1900-01-01 00:00:00", "1900-01-01 00:00:00"),
        ("1899-12-30", "1899-12-30 00:00:00"),
        ("0001-01-01", "0001-01-01 00:00:00"),
        ("9999-12-31", "9999-12-31 00:00:00"),
        ("9999-12-31 23:59:59", "9999-12-31 23:59:59"),
        ("1753-01-01", "1753-01-01 00:00:00"),
        ("2099-12-31", "2099-12-31 00:00:00"),
    ],
)
def test_moments_that_stand_for_a_missing_time_are_pointed_out(odd, name):
    good = [1_700_000_000, 1_700_000_001] if isinstance(odd, int) else ["2023-11-14", "2023-11-15"]
    times = times_of([good[0], odd, good[1], odd])
    assert times.keys is not None
    (note,) = times.notes
    assert note.startswith(f"2 times are {name}, years from all others")


@pytest.mark.parametrize(
    "values",
    [[0, 9 * 10**7, -1, 10**9], ["1970-01-01", "1971-06-01", "2023-01-01"], ["1900-01-01"] * 1],
)
def test_the_same_moments_among_others_like_them_are_times(values):
    assert times_of(values).notes == ()


@pytest.mark.parametrize("value", [0, 7, 1_700_000_000, "2023-11-14"])
def test_times_that_are_all_the_same_order_nothing(value):
    (note,) = times_of([value] * 3).notes
    assert note == "all times are the same: the order of the rows decides instead"
    assert times_of([value]).notes == ()


def test_rounded_numbers_have_no_order():
    assert "is '1.70E+12', a rounded number" in reason(["1.70E+12", "1.71E+12", "1.70E+12"])
    assert "a rounded number" in reason(["1.70939e+09", "1700000000"])
    # as R writes a round number, and as pandas writes nanoseconds in a float
    assert times_of(["1.7e+09", *[str(1_700_000_001 + n) for n in range(20)]]).keys is not None
    assert times_of(["1.7000000010000001e+18", "1.7000000020000003e+18"]).keys is not None


def test_each_odd_moment_is_pointed_out_and_one_early_row_is_none():
    dates = [f"2023-{month:02}-14" for month in range(1, 13)]
    odd = ["1601-01-01"] * 3 + ["1753-01-01"] * 2 + ["9999-12-31"]
    found = [note.split(",")[0] for note in times_of(dates + odd).notes]
    assert found == [
        "3 times are 1601-01-01 00:00:00",
        "2 times are 1753-01-01 00:00:00",
        "1 time is 9999-12-31 00:00:00",
    ]
    assert not times_of([*dates, "2005-03-01"]).notes


def days_from(start: str, count: int) -> list[dt.date]:
    return [dt.date.fromisoformat(start) + dt.timedelta(days=n) for n in range(count)]


def stamps(moments: list[dt.datetime]) -> list[int]:
    return [second(moment) for moment in moments]


def seconds_of(*files: object) -> list[int]:
    """Seconds since 1970 as read; the test fails where there are none."""
    found = times_of(*files)
    assert found.seconds is not None, found.problem
    return found.seconds.tolist()


SHORT = ["%y/%m/%d", "%d/%m/%y", "%y.%m.%d", "%d.%m.%y", "%y-%m-%d", "%y-%b-%d", "%d-%b-%y"]


@pytest.mark.parametrize("format", [*SHORT, "%m/%d/%y", "%d %B %y", "%y%m%d", "%d%m%y", "%m%d%y"])
@pytest.mark.parametrize("batch", [None, 7])
def test_short_years_are_told_from_days_by_all_rows(format, batch):
    days = days_from("2022-11-14", 400)[::3]
    text = [day.strftime(format) for day in days]
    found = times_of(text, batch=batch)
    assert found.seconds is not None, found.problem
    assert found.seconds.tolist() == [(day - dt.date(1970, 1, 1)).days * 86400 for day in days]
    first = {"y": "the year first", "d": "the day first", "m": "the month first"}[format[1]]
    if format == "%m/%d/%y":  # a day above 12 is no month, and no other way is left
        assert found.notes == ()
    else:
        (note,) = found.notes
        assert f"such as {text[0]} are read " in note
        assert first in note


@pytest.mark.parametrize("format", SHORT)
def test_files_of_a_day_each_tell_short_years_together(format):
    days = days_from("2023-01-14", 31)
    files = [[day.strftime(format)] for day in days]
    assert seconds_of(*files) == [(day - dt.date(1970, 1, 1)).days * 86400 for day in days]


def test_an_expert_reads_two_dates_with_the_year_first():
    found = times_of(["23/12/30", "24/01/05"])
    assert found.seconds.tolist() == [1_703_894_400, 1_704_412_800]
    assert found.notes == (
        "dates such as 23/12/30 are read with the year first: with the day first, they would lie "
        "in 2005 to 2030",
    )


@pytest.mark.parametrize(
    ("texts", "ways"),
    [
        (["14.11.23", "15.11.23", "16.11.23"], "the day first or the year first"),
        (["14-Nov-23", "15-Nov-23"], "the day first or the year first"),
        (["05/03/04", "06/04/05"], "the day first or the month first or the year first"),
        (["15/01/01", "16/01/01", "24/01/01"], "the day first or the year first"),
        (["231114", "231115"], "the day first or the year first"),
    ],
)
def test_short_years_that_nothing_tells_from_days_have_no_order(texts, ways):
    assert f"such as {texts[0]} that can be read with {ways}: write them as" in reason(texts)


def test_years_that_are_no_days_are_told_at_once():
    assert seconds_of(["99/12/30", "98/01/05"]) == [946_512_000, 883_958_400]
    assert seconds_of(["30/12/99", "05/01/98"]) == [946_512_000, 883_958_400]
    assert seconds_of(["30-Dec-23", "5-Jan-24"]) == [1_703_894_400, 1_704_412_800]  # no year 5
    assert seconds_of(["30-Dec-23"], ["14-Nov-2023"]) == [1_703_894_400, 1_699_920_000]


MOMENTS = [DAY.replace(second=20) + dt.timedelta(minutes=977 * n) for n in range(40)]


@pytest.mark.parametrize(
    ("format", "least"),
    [
        ("%Y%m%d%H", 3600),
        ("%y%m%d%H%M", 60),
        ("%y%m%d%H%M%S", 1),
        ("%d%m%y%H%M%S", 1),
        ("%y%m%d%H%M%S000", 1),
        ("%Y%m%d%H%M%S", 1),
        *((f"%Y%m%d%H%M%S{'0' * n}", 1) for n in (1, 2, 3, 4, 5)),
    ],
)
@pytest.mark.parametrize("kind", [int, str])
def test_digits_of_a_date_and_a_time(format, least, kind):
    values = [kind(moment.strftime(format)) for moment in MOMENTS]
    wanted = [moment - moment % least for moment in stamps(MOMENTS)]
    assert seconds_of(values) == wanted
    if "%Y" in format:
        assert seconds_of(values[:1]) == wanted[:1]


@pytest.mark.parametrize("missing", [0, -1])
@pytest.mark.parametrize("format", ["%Y%m%d", "%Y%m%d%H", "%y%m%d%H%M", "%Y%m%d%H%M%S"])
def test_what_stands_for_a_missing_time_makes_no_seconds_of_dates(missing, format):
    values = [int(moment.strftime(format)) for moment in MOMENTS]
    wanted = f"has {missing} among dates such as {values[0]}: expected a date in every row"
    assert wanted in reason([*values, missing])
    assert wanted in reason([str(value) for value in [missing, *values]])
    assert times_of([0, 1, 2, 1_712_051_330]).seconds is not None  # of numbers, it is a time


@pytest.mark.parametrize("year", [2005, 2012, 2017, 2020])
def test_digits_that_could_be_seconds_are_dates_where_all_rows_are(year):
    moments = [moment.replace(year=year) for moment in MOMENTS]
    values = [int(moment.strftime("%y%m%d%H%M")) for moment in moments]
    assert seconds_of(values) == [moment - moment % 60 for moment in stamps(moments)]
    if year in (2012, 2017):
        assert "can be seconds since 1970 or the digits of a date" in reason(values[:3])
    assert seconds_of([1_712_051_330, 1_712_051_399]) == [1_712_051_330, 1_712_051_399]


@pytest.mark.parametrize(
    "format",
    ["%d%m%Y", "%m%d%Y", "%m%Y", *(f"%{a}%Y%H%M{s}" for a in ("d%m", "m%d") for s in ("", "%S"))],
)
def test_digits_with_the_year_last_are_refused(format):
    values = [int(moment.strftime(format)) for moment in MOMENTS]
    assert f"has dates such as {values[0]}, the year last" in reason(values)
    assert "the year last" in reason([str(value) for value in values])


@pytest.mark.parametrize(
    "values",
    [
        [202311, 202312, 202401],  # in order
        [112023, 112024],  # likewise
        [10101, 10102, 10103],  # too small
        [231114, 231150],
        [45000, 45001],
        [6, 5, 7],
        list(range(110_000, 112_000)),
        [16_000_000 + n for n in range(500)],
    ],
)
def test_numbers_that_are_in_order_stay_numbers(values):
    found = times_of(values)
    assert found.keys.tolist() == values
    assert (found.seconds, found.notes) == (None, ())


@pytest.mark.parametrize(
    ("year", "name"), [(1, ".NET ticks (100 ns since the year 1)"), (1601, "Windows FILETIME")]
)
@pytest.mark.parametrize("kind", [int, str])
def test_ticks_of_windows(year, name, kind):
    start = dt.datetime(year, 1, 1, tzinfo=UTC)
    moments = [dt.datetime(2000, 1, 1, tzinfo=UTC), DAY, dt.datetime(2035, 12, 31, tzinfo=UTC)]
    values = [kind((moment - start) // dt.timedelta(microseconds=1) * 10 + 7) for moment in moments]
    found = times_of(values)
    assert found.seconds.tolist() == stamps(moments)
    (note,) = found.notes
    assert note.startswith(f"times are read as {name}")
    assert np.unique(found.keys % 10**9).tolist() == [700]


def test_times_far_from_those_of_today_are_pointed_out():
    (note,) = times_of([700_000_000, 720_000_000]).notes  # of a phone that counts from 2001
    assert note.startswith("times such as 700000000 are read as seconds since 1970")
    assert "before 1995" in note
    (note,) = times_of([2_231_114_221_320, 2_231_114_221_399]).notes
    assert "after 2035" in note
    assert times_of([700_000_000, 1_700_000_000]).notes == ()


@pytest.mark.parametrize("numbers", [[1_700_000_060], ["1700000060000"]])
def test_naive_times_beside_counts_since_1970_are_said_to_be_utc(numbers):
    said = "times without a zone are taken as UTC"
    naive = pa.array([DAY.replace(tzinfo=None)], pa.timestamp("us"))
    for other in (naive, ["2023-11-14 22:13:20"], ["20231114221320"], ["14 Nov 2023 22:13"]):
        assert said in times_of(numbers, other).notes
        assert said not in times_of(other).notes
    assert times_of(numbers, ["2023-11-14T22:13:20Z"]).notes == ()
    assert times_of(numbers, pa.array([DAY], pa.timestamp("us", "UTC"))).notes == ()


def test_ticks_are_none_beside_dates_of_the_years_that_nanoseconds_would_mean():
    moment = dt.datetime(1989, 12, 29, tzinfo=UTC)
    nanos = [_micros(moment) * 1000]
    for files in (([moment], nanos), (nanos, [moment])):
        keys = times_of(*files).keys.tolist()
        assert keys[0] == keys[1]
    assert any(".NET" in note for note in times_of(nanos).notes)
