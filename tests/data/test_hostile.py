"""Files that cannot be used: one line that names file, line, column and what was expected."""

import gzip
import io
import lzma
import struct
import tracemalloc
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.read import load_path
from recsys.data.source import load
from recsys.errors import ConfigError, InputError
from tests.data.conftest import refusal

HEAD = "user,item,rating,time\n"
GOOD = HEAD + "1,2,3,4\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["is empty", "expected a table"]),
        ("\n\n", ["is empty"]),
        ("\ufeff", ["is empty"]),
        (HEAD, ["has a header but no rows"]),
        (HEAD + "\n\r\n", ["has a header but no rows"]),
        ("UserId,ItemId\n1,\n2,\n", ["has no interactions"]),
        ("user,rating\n1,2\n", ["no item column", "'user', 'rating'", "item=NAME"]),
        ("user,item\n----,----\n1,2\n", ["line 2 is '----,----': a table formatted for reading"]),
        ("a,b\nx,y\n", ["no user column", "user=NAME"]),
        ("hello\nworld\n", ["line 1 is 'hello': one column; expected at least two, of users"]),
        ("item_id\n1\n", ["line 1 is 'item_id': one column; expected at least two"]),
        ("1\n2\n", ["line 1 is '1': one column"]),
        ("my user\n1 x\n", ["line 1 is 'my user': expected column names separated by"]),
        ("1,2,300\n3,4,500\n", ["line 1 is '1,2,300'", "numbers without a header"]),
        ("a,2\n3,4\n", ["line 1 is 'a,2'", "expected a header"]),
        (GOOD + "1,2,3\n", ["line 3 has 3 columns: expected 4"]),
        (GOOD + "\n1,2,3,4,5\n", ["line 4 has 5 columns: expected 4"]),
        (GOOD + ",2,3,4\n", ["line 3, column user", "is empty: expected an id"]),
        (GOOD + "1,,3,4\n", ["line 3, column item", "is empty: expected an id (leave such rows"]),
        (
            GOOD + "nan,2,3,4\n",
            ["line 3, column user", "'nan'", "is a missing value: expected an id"],
        ),
        (GOOD + '1,"2,3,4\n5,6,7,8\n', ["line 3 has a stray quote"]),
        (GOOD + '1,"2\n3",4,5\n', ["line 3, column item", "has a line break: expected one id"]),
        ('user,item,text\n1,2,"a\nb" c\n', ["line 2 has a stray quote"]),
        ("user,user,item\n1,2,3\n", ["two user columns, 'user' and 'user'", "unique"]),
        ("user,movie_id,item_id\n1,2,3\n", ["two item columns", "item=NAME"]),
        ("user,product\n1,red shoes\n", ["line 2, column product", "has blanks", "UserId,ItemId"]),
        ("UserId,ItemId\n1,2 3\n2,3\n1,4\n", ["user '1' has two rows of items"]),
        ("user_id:token\titem_id:token\n1 2\n", ["line 2 has 1 columns: expected 2"]),
        ("user_id:token\titem_id:token_seq\n1\t2 3\n", ["'item_id:token_seq'", "type token"]),
        ("1::2::3::4\n1:2::3::4\n", ["line 2 has 3 columns: expected 4"]),
        (b"user,item\n\xff,1\n", ["line 2 is not UTF-8"]),
        (b"\xff\xfeu\0s\0e\0r\0", ["UTF-16"]),
        (GOOD.encode() + b"1,\0,3,4\n", ["line 3", "NUL byte", "binary"]),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0", ["NUL byte", "binary"]),
        (b"BZh91AY&SY", ["bzip2", "expected UTF-8 text, parquet, gzip, xz, zip"]),
        (gzip.compress(gzip.compress(GOOD.encode())), ["another compressed file"]),
        (gzip.compress(GOOD.encode() * 99)[:-9], ["damaged or cut off"]),
        (lzma.compress(GOOD.encode() * 99)[:-9], ["damaged or cut off"]),
        (gzip.compress(GOOD.encode())[:9], ["damaged or cut off"]),
        (b"PK\x03\x04 nothing", ["damaged zip"]),
        (b"PAR1 nothing PAR1", ["cannot be read as parquet"]),
    ],
)
def test_one_line_says_what_is_wrong(write, content, words):
    path = write("data.csv", content)
    message = refusal(path)
    assert message.startswith(str(path))
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD + "1,2,good,4\n", ["line 3, column rating", "'good'", "expected a number"]),
        (GOOD + "1,2,nan,4\n", ["line 3, column rating", "'nan'", "expected a number"]),
        (GOOD + "1,2,1e999,4\n", ["line 3, column rating", "expected a number"]),
        (GOOD + "1,2,,4\n", ["line 3, column rating", "''", "expected a number"]),
        ("1::2::3::4\n1::2::x::4\n", ["line 2, column rating", "'x'"]),
    ],
)
def test_a_rating_must_be_a_number_where_one_is_asked_for(write, content, words):
    path = write("data.csv", content)
    message = refusal(path, min_rating=1)
    for word in words:
        assert word in message, message
    data = load_path(path)  # nobody asks
    assert data.interactions.nnz == 1
    assert any("column rating is not used" in note for note in data.interactions.notes)


def test_inter_files_need_a_typed_header(write):
    assert "expected a tab-separated header of name:type" in refusal(write("x.inter", GOOD))


def test_min_rating_needs_ratings_and_must_leave_some(write):
    path = write("x.csv", "user,item\n1,2\n")
    assert "has no rating column, so min_rating 4" in refusal(path, min_rating=4)
    assert "no rating of at least 4: the highest is 3" in refusal(
        write("y.csv", GOOD), min_rating=4
    )
    with pytest.raises(InputError, match="expected a finite number"):
        load(path, min_rating=float("nan"))


def test_columns_that_are_not_there(write):
    path = write("x.csv", GOOD)
    assert "has no column 'who': it has 'user'" in refusal(path, columns={"user": "who"})
    assert "one column is named for two roles" in refusal(
        path, columns={"user": "item", "item": "item"}
    )
    with pytest.raises(ConfigError, match="'usr' is not a role: expected user, item"):
        load_path(path, columns={"usr": "user"})
    assert "columns cannot be named" in refusal(write("r.dat", "1::2::3\n"), columns={"user": "a"})


def test_places_without_a_table(write, tmp_path):
    assert "No such file" in refusal(tmp_path / "nothing.csv")
    assert "expected train" in refusal(tmp_path)
    write("d/a.csv", GOOD)
    write("d/b.csv", GOOD)
    assert "holds a.csv, b.csv: expected train, test" in refusal(tmp_path / "d")
    write("e/train.csv", GOOD)
    write("e/train.tsv", GOOD)
    assert "two train files, train.csv and train.tsv" in refusal(tmp_path / "e")
    write("f/train.csv", GOOD)
    write("f/test.csv", GOOD)
    assert "test.csv: shares 1 user-item pairs with train" in refusal(tmp_path / "f")
    write("g/test.csv", GOOD)
    assert "holds test.csv: expected train" in refusal(tmp_path / "g")
    assert "/dev/null: is not a regular file" in refusal(type(tmp_path)("/dev/null"))
    assert "expected a file or folder" in refusal(tmp_path / ("x" * 5000))
    with pytest.raises(InputError, match="named set or a path"):
        load("")
    for name in ("~nobody-of-this-name/x", "ml-100", "a\0b", "\ud800"):
        with pytest.raises(InputError, match="expected a file or folder"):
            load(name)


def test_a_name_with_a_line_break_stays_on_one_line(write):
    assert "\\n" in refusal(write("a\nb.csv", "x\n"))


def test_zip_members_never_leave_the_archive(write, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../train.csv", "user,item\n1,2\n1,3\n")
        archive.writestr("/etc/test.csv", "user,item\n1,4\n")
    path = write("in/x.zip", buffer.getvalue())
    assert load_path(path).ready_test.nnz == 1
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "x.zip"]


@pytest.mark.parametrize("pack", ["gzip", "zip"])
def test_decompression_bombs_stop_early(write, pack):
    rows = b"1,2\n" * (1 << 18)
    if pack == "gzip":
        content = gzip.compress(b"user,item\n" + rows * 100)  # 100 MiB from 0.1 MiB
    else:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("train.csv", b"user,item\n" + rows * 100)
        content = buffer.getvalue()
    assert len(content) < 1 << 19
    assert "looks like a decompression bomb" in refusal(write("x.bin", content))


@pytest.mark.parametrize("head", ["", "user,item\n", "UserId,ItemId\n1,2\n3,"])
def test_an_endless_line_costs_little_memory(write, head):
    content = gzip.compress(head.encode() + b"7" * (200 << 20), 1)
    path = write("x.gz", content)
    tracemalloc.start()
    arrow = pa.total_allocated_bytes()
    message = refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "is longer than" in message
    assert peak + pa.total_allocated_bytes() - arrow < 100 << 20


def test_xz_that_claims_a_huge_dictionary(write):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
    small = lzma.compress(GOOD.encode(), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}])
    assert load_path(write("ok.xz", small)).interactions.nnz == 1
    # the same bytes, with the header of a filter that needs 1 GiB
    claim = lzma._encode_filter_properties(filters[0])
    honest = lzma._encode_filter_properties({"id": lzma.FILTER_LZMA2, "dict_size": 4096})
    head = bytearray(small[12:24])
    head[head.index(b"\x21\x01" + honest) + 2] = claim[0]
    body = bytes(head[:-4])
    forged = small[:12] + body + struct.pack("<I", _crc(body)) + small[24:]
    assert "damaged or cut off" in refusal(write("claim.xz", forged))


def _crc(data: bytes) -> int:
    import zlib

    return zlib.crc32(data)


def parquet(**columns) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"user": [1], "thing": [2]}, "no item column"),
        ({"user": [1.5], "item": [2]}, "row 1, column user: user is 1.5: expected a whole number"),
        ({"user": [1, None], "item": [2, 3]}, "row 2, column user: user is missing"),
        ({"user": ["a", ""], "item": [2, 3]}, "row 2, column user: user is empty"),
        ({"user": [1], "item": [[[2]]]}, "item has type list"),
        ({"user": [1], "item": [{"id": 2}]}, "item has type struct"),
        ({"user": [[1]], "item": [2]}, "user has type list"),
        ({"user": [1, 2], "item": [[2], [3, None]]}, "row 2, column item: item is missing"),
        ({"user": [1, 2], "item": [[2], None]}, "row 2, column item: item is missing"),
        ({"user": [1, None], "item": [[2], [3]]}, "row 2, column user: user is missing"),
        ({"user": [1], "item": [b"\xff"]}, "UTF"),
        ({"user": [True], "item": [2]}, "user has type bool"),
        ({"user": pa.array([], pa.int64()), "item": pa.array([], pa.int64())}, "has no rows"),
    ],
)
def test_parquet_says_row_and_column(write, columns, words):
    assert words in refusal(write("x.parquet", parquet(**columns)))


def test_parquet_ids_beyond_int64_are_strings(write):
    data = load_path(
        write("x.parquet", parquet(user=pa.array([2**63, 1], pa.uint64()), item=[1, 2]))
    )
    assert data.interactions.user_ids.tolist() == ["1", str(2**63)]


def test_parquet_that_claims_more_rows_than_bytes_can_hold(write):
    run = pa.array([7] * 3_000_000, pa.int8())  # a run, packed to a few bytes
    content = parquet(user=run, item=run)
    assert len(content) < 40_000
    assert "claims 3000000 rows" in refusal(write("x.parquet", content))


def test_an_open_quote_in_the_last_line_is_found(write):
    text = GOOD + '"1",2,3,4\n\n1,2,3,"4'
    assert "line 5 has a stray quote" in refusal(write("x.csv", text))
    assert load_path(write("y.csv", text + '"\n\n')).interactions.duplicates == 2
