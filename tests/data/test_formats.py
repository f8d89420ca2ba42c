"""Each format, made by hand, read back to the pairs that were put in."""

import gzip
import io
import lzma
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.read import load_path
from tests.data.conftest import pairs

WANTED = [(1, 10), (1, 12), (2, 10), (3, 11)]
LONG = "user_id,item_id,rating,timestamp\n3,11,4,7\n1,12,5,200\n2,10,3,5\n1,10,1,100\n"


def test_the_reports_lists(write):
    data = load_path(write("train.csv", "UserId,ItemId\n2,30 10 20\n1,20\n"))
    assert pairs(data) == [(1, 20), (2, 30), (2, 10), (2, 20)]
    assert data.interactions.ordered
    assert data.interactions.user_ids.dtype == np.int64


def test_a_user_with_an_empty_list_is_kept(write):
    data = load_path(write("train.csv", "UserId,ItemId\n1,5 6\n2,\n"))
    assert data.interactions.n_users == 2
    assert data.interactions.csr.degrees().tolist() == [2, 0]
    assert any("without items to learn from: 1" in note for note in data.interactions.notes)


def test_the_reports_header_over_one_item_a_row_is_a_long_table(write):
    data = load_path(write("train.csv", "UserId,ItemId\n1,5\n2,5\n1,6\n"))
    assert pairs(data) == [(1, 5), (1, 6), (2, 5)]
    assert not data.interactions.ordered


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_long_tables_with_any_separator(write, separator):
    data = load_path(write("data.txt", LONG.replace(",", separator)))
    assert pairs(data) == WANTED
    assert data.interactions.ordered


@pytest.mark.parametrize(
    ("user", "item", "rating", "time"),
    [
        ("userId", "movieId", "score", "time"),
        ("USER", "Item", "Stars", "Date"),
        ("user_procid", "item_procid", "ratings", "ts"),
        ("Customer ID", "Product-Id", "overall", "unixReviewTime"),
        ("uid", "iid", "rating", "created_at"),
    ],
)
def test_columns_are_found_by_common_names(write, user, item, rating, time):
    body = LONG.partition("\n")[2]
    data = load_path(write("data.csv", f"{user},{item},{rating},{time}\n{body}"), min_rating=4)
    assert pairs(data) == [(1, 12), (3, 11)]


def test_columns_can_be_named_and_the_rest_is_ignored(write):
    text = 'a,user_id,b,item_id\n"x,1",9,p,9\ny,9,q,9\n'
    data = load_path(write("data.csv", text), columns={"user": "a", "item": "b"})
    assert pairs(data) == [("x,1", "p"), ("y", "q")]


def test_recbole_inter(write):
    header = "item_id:token\tuser_id:token\trating:float\ttimestamp:float"
    text = f"{header}\n10\t1\t5\t1.5\n11\t1\t2\t0.5\n"
    data = load_path(write("x.inter", text))
    assert pairs(data) == [(1, 11), (1, 10)]
    assert pairs(load_path(write("x.inter", text), min_rating=3)) == [(1, 10)]


def test_movielens_double_colon(write):
    text = "1::10::5::900\n1::11::4::800\n2::10::1::700\n"
    data = load_path(write("ratings.dat", text))
    assert pairs(data) == [(1, 11), (1, 10), (2, 10)]
    assert pairs(load_path(write("ratings.dat", text), min_rating=5)) == [(1, 10)]


def test_double_colons_across_the_borders_of_pieces(write):
    rows = [f"{n}::{n % 977}::{n % 5 + 1}::{n + 10**8}" for n in range(120_000)]
    data = load_path(write("ratings.dat", "\n".join(rows)))  # about 2.9 MB, pieces are 1 MiB
    assert pairs(data) == [(n, n % 977) for n in range(120_000)]


def test_movielens_u_data(write):
    data = load_path(write("u.data", "196\t242\t3\t881250949\n196\t302\t3\t881250900\n"))
    assert pairs(data) == [(196, 302), (196, 242)]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("text", [LONG, "UserId,ItemId\n1,10 12\n2,10\n3,11\n"])
def test_compressed_files_are_known_by_content(write, pack, text):
    assert pairs(load_path(write("data.bin", pack(text.encode())))) == WANTED


def test_several_gzip_and_xz_members_are_one_file(write):
    head, tail = LONG[:40].encode(), LONG[40:].encode()
    for pack in (gzip.compress, lzma.compress):
        assert pairs(load_path(write("data", pack(head) + pack(tail)))) == WANTED


def test_parquet(write):
    frame = pd.read_csv(io.StringIO(LONG))
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="D")
    for ids in ("int32", "int64", "str", "category"):
        buffer = io.BytesIO()
        frame.astype({"user_id": ids, "item_id": ids}).to_parquet(buffer)
        data = load_path(write("data.parquet", buffer.getvalue()))
        if ids == "category":  # of integers
            assert [(int(u), int(i)) for u, i in pairs(data)] == WANTED
        else:
            assert pairs(data) == WANTED
        assert data.interactions.ordered
    assert pairs(load_path(write("data.parquet", buffer.getvalue()), min_rating=4)) == [
        (1, 12),
        (3, 11),
    ]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int64()), pa.large_list(pa.int32()), pa.list_(pa.string())]
)
def test_parquet_with_a_list_of_items_a_user(write, kind):
    lists = pa.array([[7, 5, 6], [], [7]]).cast(kind)
    out = io.BytesIO()
    pq.write_table(pa.table({"user": [2, 3, 1], "item": lists}), out)
    data = load_path(write("x.parquet", out.getvalue()))
    assert [(u, int(i)) for u, i in pairs(data)] == [(1, 7), (2, 7), (2, 5), (2, 6)]
    assert data.interactions.ordered
    assert data.interactions.n_users == 3
    table = pa.table(
        {"user": [2, 1], "item": [[7, 5], [7]], "time": [[9, 8], [1]], "rating": [[5, 1], [4]]}
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    path = write("y.parquet", out.getvalue())
    assert pairs(load_path(path)) == [(1, 7), (2, 5), (2, 7)]
    assert pairs(load_path(path, min_rating=4)) == [(1, 7), (2, 7)]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([b"1", b"2"]),
        pa.array(["1", "2"], pa.string_view()),
        pa.array(["1", "2"], pa.large_string()),
        pa.array([1, 2]).cast(pa.decimal128(20, 0)),
        pa.array([1, 2], pa.uint8()),
        pa.array(["1", "2"]).dictionary_encode(),
    ],
)
def test_parquet_ids_however_they_are_stored(write, ids):
    out = io.BytesIO()
    pq.write_table(pa.table({"user": ids, "item": ids}), out)
    data = load_path(write("x.parquet", out.getvalue()))
    assert pairs(data) == [(1, 1), (2, 2)]


def _zip(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


READY = {
    "x/train.tsv": "user_procid\titem_procid\n0\t5\n0\t6\n1\t5\n",
    "x/test.tsv": "user_procid\titem_procid\n0\t7\n2\t5\n",
    "x/summary.txt": "anything",
}


def test_a_ready_split_in_a_zip_and_in_a_folder(write, tmp_path):
    for name, text in READY.items():
        write(name, text)
    write("x/.DS_Store", b"\0\0")
    for path in (write("x.zip", _zip(READY)), tmp_path / "x"):
        data = load_path(path)
        assert pairs(data) == [(0, 5), (0, 6), (1, 5)]
        # user 2 and item 7 are only in test: known, without training rows
        assert data.interactions.user_ids.tolist() == [0, 1, 2]
        assert data.interactions.item_ids.tolist() == [5, 6, 7]
        assert data.ready_valid is None
        assert data.ready_test.row(0).tolist() == [2]
        assert data.ready_test.row(2).tolist() == [0]


def test_ready_validation_is_part_of_the_interactions(write):
    files = READY | {"x/valid.tsv": "user_procid\titem_procid\n1\t6\n"}
    data = load_path(write("x.zip", _zip(files)))
    assert pairs(data) == [(0, 5), (0, 6), (1, 5), (1, 6)]
    assert data.ready_valid.row(1).tolist() == [1]


def test_ids_of_all_parts_share_one_type(write):
    files = READY | {"x/test.tsv": "user_procid\titem_procid\n0\tseven\n"}
    data = load_path(write("x.zip", _zip(files)))
    assert data.interactions.user_ids.tolist() == [0, 1]
    assert data.interactions.item_ids.tolist() == ["5", "6", "seven"]


def test_a_zip_with_one_table(write):
    assert pairs(load_path(write("x.zip", _zip({"ratings.csv": LONG})))) == WANTED


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (["2", "10", "-1"], [-1, 2, 10]),
        (["9223372036854775807", "-9223372036854775808"], [-(2**63), 2**63 - 1]),
        (["9223372036854775808", "1"], ["1", "9223372036854775808"]),
        (["007", "7"], ["007", "7"]),
        (["-0", "0"], ["-0", "0"]),
        (["0x10", "16"], ["0x10", "16"]),
        (["1.0", "1"], [1]),
        (["1.0", "2.5"], ["1.0", "2.5"]),
        (["1.0", "x"], ["1.0", "x"]),
        (["ünï", "naïve☃"], ["naïve☃", "ünï"]),
        ([" 1", "1\u00a0", "\ufeff1 "], [1]),
        (["u7", "u7  ", "\u3000u7"], ["u7"]),
    ],
)
def test_ids_are_integers_only_if_every_one_is_canonical(write, ids, kept):
    rows = "".join(f"{name},5\n" for name in ids)
    found = load_path(write("x.csv", f"customer,product\n{rows}")).interactions.user_ids
    assert found.tolist() == kept
    assert (found.dtype == np.int64) == isinstance(kept[0], int)


def test_a_late_string_turns_all_ids_into_strings(write):
    rows = [
        f"{n % 3000},{n % 7}" for n in range(1_000_000)
    ] * 2  # more than one block of the parser
    data = load_path(write("x.csv", "\n".join(["user,item", *rows, "x,1"])))
    assert data.interactions.n_users == 3001
    assert data.interactions.csr.nnz == 3000 * 7 + 1
    assert set(data.interactions.user_ids) == {str(n) for n in range(3000)} | {"x"}


def test_iso_dates_order_and_zones_count(write):
    text = (
        "user,item,date\n1,5,2024-01-02\n1,6,2024-01-01T23:00:00Z\n1,7,2024-01-02T01:00:00+03:00\n"
    )
    assert pairs(load_path(write("x.csv", text))) == [(1, 7), (1, 6), (1, 5)]


def test_nanoseconds_are_not_rounded(write):
    base = 1_700_000_000_000_000_000
    text = f"user,item,ts\n1,5,{base + 2}\n1,6,{base + 1}\n1,7,{base}\n"
    assert pairs(load_path(write("x.csv", text))) == [(1, 7), (1, 6), (1, 5)]


def test_duplicates_keep_the_earliest_and_are_counted(write):
    text = "user,item,rating,time\n1,5,5,30\n1,6,5,20\n1,5,4,10\n1,5,2,1\n"
    data = load_path(write("x.csv", text), min_rating=4)
    assert pairs(data) == [(1, 5), (1, 6)]
    assert data.interactions.duplicates == 1  # the row rated 2 is no positive, so no duplicate
    lists = load_path(write("y.csv", "UserId,ItemId\n1,7 5 7 6\n"))
    assert pairs(lists) == [(1, 7), (1, 5), (1, 6)]
    assert lists.interactions.duplicates == 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_byte_order_mark_and_empty_lines(write, end):
    text = LONG.replace("\n", end)
    path = write("x.csv", b"\xef\xbb\xbf" + end.encode() + text.encode() + end.encode() * 2)
    assert pairs(load_path(path)) == WANTED


def test_quotes(write):
    text = 'user,item,title\n"a ""b""",1,"x, y"\nplain,2,\n'
    assert pairs(load_path(write("x.csv", text))) == [('a "b"', 1), ("plain", 2)]


def test_links_are_followed(write, tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to(write("x.csv", LONG))
    assert pairs(load_path(link)) == WANTED
