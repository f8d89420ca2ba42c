"""Property: whatever a file holds, it is a valid data set or one line of `InputError`."""

import gzip
import io
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_readers import SUFFIXES, check_bytes

quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
suffixes = st.sampled_from(SUFFIXES)
limits = st.sampled_from([None, 3.0])

HEADERS = [
    "UserId,ItemId",
    "user_id,item_id,rating,timestamp",
    "user\titem\ttime",
    "uid;movieId;score",
    "customer|product|stars|date",
    "user_id:token\titem_id:token\trating:float\ttimestamp:float",
    "user_id:token\titem_id:token_seq",
    "user,user,item",
    '"user","item"',
    "",
]
good = st.sampled_from(["1", "2", "30", "4", "007", "x"])
odd = st.sampled_from(
    [
        *("9223372036854775807", "9223372036854775808", "-1", "1.5", "", " ", "nan", "a b"),
        *('"x', '"x"', '"a,b"', 'x"y', '"x"y', '""', "2024-01-31", "1e400", "é", "\u2028"),
        *("inf", "1 2 3", "+5", "1e3", "0x10", "2024-01-31T10:00:00+02:00", "2024-13-01", "null"),
    ]
)
cells = st.one_of(*[good] * 8, odd, st.text(max_size=4))
numbers = st.one_of(*[st.sampled_from(["1", "5", "3.5", "-2"])] * 9, odd)
ends = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Files that are nearly right, which reach deeper than noise."""
    header = draw(st.sampled_from(HEADERS))
    own = next((s for s in "\t,;|" if s in header), "::")
    separator = draw(st.sampled_from([own] * 20 + [",", "\t", ";", "|", "::"]))
    width = header.count(own) + 1 if header else draw(st.integers(2, 5))
    widths = st.sampled_from([width] * 40 + [1, 2, 3, 4])
    end = draw(ends)
    counts = draw(st.lists(widths, max_size=8))
    names = [*header.lower().split(own), "", "", "", "", ""]

    def cell(column: int) -> str:
        numeric = any(word in names[column] for word in ("rat", "scor", "star", "tim", "date"))
        return draw(numbers if numeric else cells)

    body = [separator.join(map(cell, range(count))) for count in counts]
    bom = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    text = end.join([header, *body]) + draw(st.sampled_from(["", end]))
    return bom + text.encode("utf-8", errors="surrogatepass")


@quick
@given(st.binary(max_size=300), suffixes, limits)
def test_any_bytes(content: bytes, suffix: str, limit: float | None) -> None:
    check_bytes(content, suffix, limit)


@settings(quick, max_examples=400)
@given(tables(), suffixes, limits)
def test_nearly_right_tables(content: bytes, suffix: str, limit: float | None) -> None:
    check_bytes(content, suffix, limit)


@st.composite
def right_tables(draw: st.DrawFn) -> bytes:
    """Well-formed tables: these must also reach the "ok" end of the property."""
    users = draw(st.lists(st.integers(0, 5), min_size=1, max_size=20))
    lines = [
        f"{u},{draw(st.integers(0, 9))},{draw(st.integers(1, 5))},{n}" for n, u in enumerate(users)
    ]
    return "\n".join(["user,item,rating,time", *lines]).encode()


def _gz(b: bytes) -> bytes:
    return gzip.compress(b, 1)


def _zip(b: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../train.csv", b)
        archive.writestr("test.csv", b"user,item,rating,time\n77,1,5,1\n")
    return out.getvalue()


def _parquet(b: bytes) -> bytes:
    rows = [line.split(",") for line in b.decode().split("\n")[1:]]
    table = pa.table(
        {
            "user": [r[0] for r in rows],
            "item": [int(r[1]) for r in rows],
            "rating": [float(r[2]) for r in rows],
            "time": [int(r[3]) for r in rows],
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


packers = st.sampled_from([lambda b: b, _gz, lzma.compress, _zip, _parquet])


@quick
@given(right_tables(), packers, suffixes.filter(lambda s: s != ".inter"))
def test_right_tables_are_read(content: bytes, pack, suffix: str) -> None:
    assert check_bytes(pack(content), suffix, None) == "ok"


@settings(quick, max_examples=400)
@given(right_tables(), packers, st.data())
def test_damaged_files(content: bytes, pack, data: st.DataObject) -> None:
    """Cut off, or with some bytes changed."""
    packed = bytearray(pack(content))
    if data.draw(st.booleans()):
        del packed[data.draw(st.integers(0, len(packed))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if packed:
            packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    check_bytes(bytes(packed), ".dat", data.draw(limits))
