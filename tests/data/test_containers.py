"""Folders and archives as people have them: read, or told in one line what to do."""

import gzip
import io
import pickle
import sqlite3
import tarfile
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from recsys.data.read import load_path
from tests.data.conftest import pairs, refusal

A = "user,item,time\n1,2,5\n1,3,4\n"
B = "user,item,time\n2,2,1\n1,4,9\n"
TOGETHER = [(1, 3), (1, 2), (1, 4), (2, 2)]


def parquet(text: str, **more: object) -> bytes:
    out = io.BytesIO()
    frame = pd.read_csv(io.StringIO(text)).assign(**more)
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), out)
    return out.getvalue()


def zipped(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


PIECES = [
    ("part-00000-6ca2c0a2-0b5c-4e6e-9d0e-7d6e0a1c7f11-c000.snappy.parquet", parquet(A)),
    ("part-00001-6ca2c0a2-0b5c-4e6e-9d0e-7d6e0a1c7f11-c000.snappy.parquet", parquet(B)),
]
SHARDS = {
    "spark": {**dict(PIECES), "_SUCCESS": "", "._SUCCESS.crc": "x", ".part-00000.crc": "x"},
    "dask": {"part.0.parquet": parquet(A), "part.1.parquet": parquet(B), "_metadata": "x"},
    "hive": {"year=2023/part-0.parquet": parquet(A), "year=2024/part-0.parquet": parquet(B)},
    "months": {"2023-01.csv": A, "2023-02.csv": B},
    "bigquery": {
        "000000000000.csv.gz": gzip.compress(A.encode()),
        "000000000001.csv.gz": gzip.compress(B.encode()),
    },
    "empty parts": {
        "part-0.csv": A,
        "part-1.csv": "",
        "part-2.csv": "user,item,time\n",
        "part-3.csv": B,
    },
    "nested": {"export/ratings/part-0.csv": A, "export/ratings/part-1.csv": B},
    "letters": {"part_a.csv": A, "part_b.csv": B},
    "tids": {
        "part-00000-tid-123-abc-1-c000.snappy.parquet": parquet(A),
        "part-00001-tid-999-abf-7-c000.snappy.parquet": parquet(B),
    },
    "years and months": {
        "year=2023/month=01/a.parquet": parquet(A),
        "year=2023/month=02/b.parquet": parquet(B),
    },
    "mac": {
        "x/part-0.csv": A,
        "x/part-1.csv": B,
        "__MACOSX/x/._part-0.csv": "x",
        "x/.DS_Store": "x",
    },
}


@pytest.mark.parametrize("kind", SHARDS)
@pytest.mark.parametrize("packed", [False, True])
def test_one_table_in_parts(write, tmp_path, kind, packed):
    files = SHARDS[kind]
    if packed:
        path = write("x.zip", zipped(files))
    else:
        path = tmp_path / "x"
        for name, content in files.items():
            write(f"x/{name}", content)
    data = load_path(path)
    assert pairs(data) == TOGETHER
    assert data.interactions.ordered
    note = "2 files are read as the parts of one table"
    if kind == "empty parts":
        note = "3 files are read as the parts of one table; 1 without rows is left out"
    assert note in data.interactions.notes


READY = {
    "folders": {"train/part-0.parquet": parquet(A), "train/part-1.parquet": parquet(B)},
    "spark folders": {
        "train.parquet/part-0.parquet": parquet(A),
        "train.parquet/part-1.parquet": parquet(B),
    },
    "csv folders": {"train/a.csv": A, "train/b.csv": B, "train/_SUCCESS": ""},
    "hugging face": {
        "data/train-00000-of-00002.parquet": parquet(A),
        "data/train-00001-of-00002.parquet": parquet(B),
    },
    "hive": {"train/year=2023/0.parquet": parquet(A), "train/year=2024/0.parquet": parquet(B)},
}
TESTS = {
    "folders": "test/part-0.parquet",
    "spark folders": "test.parquet/part-0.parquet",
    "csv folders": "test/part-0.parquet",
    "hugging face": "data/test-00000-of-00001.parquet",
    "hive": "test/year=2025/0.parquet",
}


@pytest.mark.parametrize("kind", READY)
def test_a_ready_split_of_many_files(write, tmp_path, kind):
    for name, content in READY[kind].items():
        write(f"x/{name}", content)
    write(f"x/{TESTS[kind]}", parquet("user,item,time\n2,3,11\n"))
    write("x/README.md", "text")
    data = load_path(tmp_path / "x")
    assert pairs(data) == TOGETHER
    assert data.ready_test.nnz == 1


def test_a_folder_with_train_only_is_a_table(write, tmp_path):
    write("x/train/a.csv", A)
    write("x/train/b.csv", B)
    write("y/train.csv", A)
    assert load_path(tmp_path / "y").ready_test is None
    assert pairs(load_path(tmp_path / "x")) == TOGETHER
    # a folder of that name with a ready split in it
    write("z/train/train.csv", A)
    write("z/train/test.csv", "user,item,time\n1,9,9\n")
    assert load_path(tmp_path / "z").ready_test.nnz == 1


def test_columns_that_only_the_folders_name(write, tmp_path):
    for day in ("2024-01-31", "2024-01-02"):
        text = f"user,item\n1,{day[-1]}\n"
        write(f"x/date={day}/part-0.parquet", parquet(text))
    data = load_path(tmp_path / "x")
    assert pairs(data) == [(1, 2), (1, 1)]
    assert data.interactions.ordered
    write("y/country=a%20b/part-0.parquet", parquet("item\n1\n"))
    write("y/country=c/part-0.parquet", parquet("item\n1\n"))
    data = load_path(tmp_path / "y", columns={"user": "country"})
    assert pairs(data) == [("a b", 1), ("c", 1)]


def test_a_stored_time_is_preferred_to_that_of_the_folder(write, tmp_path):
    write("x/date=2024-01-02/part-0.parquet", parquet(A))
    write("x/date=2024-01-01/part-0.parquet", parquet(B))
    assert pairs(load_path(tmp_path / "x")) == TOGETHER


MOVIELENS = {
    "ml-100k": (
        "u.data",
        "1\t2\t3\t881250949\n1\t4\t3\t881250900\n",
        ["u.item", "u1.base", "u1.test", "u2.base", "u2.test", "ua.test", "README", "u.user"],
    ),
    "ml-1m": (
        "ratings.dat",
        "1::2::3::881250949\n1::4::3::881250900\n",
        ["movies.dat", "users.dat", "README"],
    ),
    "ml-latest-small": (
        "ratings.csv",
        "userId,movieId,rating,timestamp\n1,2,3,881250949\n1,4,3,881250900\n",
        ["movies.csv", "links.csv", "tags.csv", "README.txt"],
    ),
    "RecBole": (
        "toy.inter",
        "user_id:token\titem_id:token\ttimestamp:float\n1\t2\t881250949\n1\t4\t881250900\n",
        ["toy.item", "toy.user", "toy.kg"],
    ),
}


@pytest.mark.parametrize("name", MOVIELENS)
def test_data_sets_as_they_are_downloaded(write, tmp_path, name):
    main, content, others = MOVIELENS[name]
    files = {f"{name}/{other}": "some|thing\n" for other in others} | {f"{name}/{main}": content}
    data = load_path(write("down.zip", zipped(files)))
    assert pairs(data) == [(1, 4), (1, 2)]
    assert f"of {len(files)} files only {main} is read" in data.interactions.notes
    for place, text in files.items():
        write(place, text)
    assert pairs(load_path(tmp_path / name)) == [(1, 4), (1, 2)]
    write("holder/down.zip", zipped(files))
    assert pairs(load_path(tmp_path / "holder")) == [(1, 4), (1, 2)]


@pytest.mark.parametrize("packed", [False, True])
def test_the_only_table_with_users_and_items_is_taken(write, tmp_path, packed):
    files = {
        "customers.csv": "customer_id,age\n1,30\n",
        "articles.csv": "article_id,name\n2,shirt\n",
        "details.parquet": parquet("item,thing\n1,2\n"),
        "transactions_2020.csv": "t_dat,customer_id,article_id\n2020-01-02,1,2\n2020-01-01,1,3\n",
    }
    path = tmp_path / "x"
    for name, content in files.items():
        write(f"x/{name}", content)
    if packed:
        path = write("x.zip", zipped(files))
    data = load_path(path)
    assert [item for _, item in pairs(data)] in ([3, 2], [2, 3])
    assert "of 4 files only transactions_2020.csv is read" in data.interactions.notes
    # names that the user gives tell, too
    write("y/a.csv", "who,what\n1,2\n")
    write("y/b.csv", "who,else\n1,2\n")
    assert pairs(load_path(tmp_path / "y", columns={"user": "who", "item": "what"})) == [(1, 2)]


def test_a_table_beside_texts(write, tmp_path):
    write("x/data.csv", A)
    write("x/README.txt", "read me")
    write("x/LICENSE", "free")
    assert pairs(load_path(tmp_path / "x")) == [(1, 3), (1, 2)]


KAGGLE = {
    "train.csv": "user_id,item_id\n5,8\n5,9\n3,8\n",
    "test.csv": "user_id\n5\n3\n99\n5\n",
    "sample_submission.csv": "user_id,item_id\n5,1 2 3\n3,1 2 3\n99,1 2 3\n",
}


@pytest.mark.parametrize(
    "files",
    [
        KAGGLE,
        {k: v for k, v in KAGGLE.items() if k != "test.csv"},
        KAGGLE | {"test.csv": "id,user_id\n1,5\n2,3\n3,99\n"},
        KAGGLE | {"test.csv": "user_id,item_id\n5,\n3,\n99,\n"},
        KAGGLE | {"test.csv": "\ufeffuser_id\r\n5\r\n3\r\n99\r\n"},
        {"train.csv": KAGGLE["train.csv"], "test.parquet": parquet("user_id\n5\n3\n99\n")},
    ],
)
def test_a_kaggle_folder_says_whom_the_submission_is_for(write, tmp_path, files):
    for name, content in files.items():
        write(f"x/{name}", content)
    data = load_path(tmp_path / "x")
    assert pairs(data) == [(3, 8), (5, 8), (5, 9)]
    assert data.ready_test is None
    assert data.receivers.names == ["5", "3", "99"]
    assert data.receivers.codes.tolist() == [1, 0, -1]
    (note,) = (n for n in data.interactions.notes if "submission" in n)
    assert "the submission is for the 3 users of" in note
    assert "1 not in train" in note


def test_users_that_are_not_there(write, tmp_path):
    write("x/train.csv", KAGGLE["train.csv"])
    write("x/test.csv", "user_id\nu5\nu3\n")
    assert "none of the users of train ('u5'...)" in refusal(tmp_path / "x")
    write("x/test.csv", "user_id\n5\n\n")
    assert load_path(tmp_path / "x").receivers.names == ["5"]
    write("x/test.csv", "user_id,age\n5,1\n,2\n")
    assert "empty user id" in refusal(tmp_path / "x")
    write("x/test.csv", "user_id\n")
    assert "has no rows" in refusal(tmp_path / "x")


def _tar(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if name.endswith("gz") else "w") as archive:
        info = tarfile.TarInfo("a.csv")
        info.size = len(A)
        archive.addfile(info, io.BytesIO(A.encode()))
    return out.getvalue()


def _feather() -> bytes:
    out = io.BytesIO()
    pyarrow.feather.write_feather(pd.read_csv(io.StringIO(A)), out)
    return out.getvalue()


def _arrow_stream() -> bytes:
    out = io.BytesIO()
    table = pa.table({"user": [1], "item": [2]})
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def _stata(version: int) -> bytes:
    out = io.BytesIO()
    pd.DataFrame({"user": [1], "item": [2]}).to_stata(out, version=version)
    return out.getvalue()


def _sqlite() -> bytes:
    with sqlite3.connect(":memory:") as store:
        store.execute("create table t (a)")
        return store.serialize()


def _npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.arange(3))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.tar", _tar("x.tar"), ["is a tar archive", "unpack it (tar xf)"]),
        ("x.tar.gz", _tar("x.tar.gz"), ["is a tar archive", "unpack it (tar xf)"]),
        ("x.xlsx", zipped({"[Content_Types].xml": "", "xl/workbook.xml": ""}), ["Excel", "CSV"]),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), ["old Excel", "CSV"]),
        ("x.ods", zipped({"mimetype": "", "content.xml": ""}), ["OpenDocument", "CSV"]),
        ("x.npz", _npz(), ["NumPy archive"]),
        ("x.npy", b"\x93NUMPY\x01\x00v\x00", ["NumPy array"]),
        ("x.7z", b"7z\xbc\xaf\x27\x1c" + bytes(60), ["is 7z", "unpack"]),
        ("x.rar", b"Rar!\x1a\x07\x00" + bytes(60), ["is RAR", "unpack"]),
        ("x.zst", b"\x28\xb5\x2f\xfd" + bytes(60), ["Zstandard", "unpack"]),
        ("x.bz2", b"BZh91AY&SY" + bytes(60), ["bzip2", "unpack"]),
        ("x.feather", _feather(), ["Feather", "parquet"]),
        ("x.pkl", pickle.dumps({"a": 1}, 4), ["Python pickle"]),
        ("x.pkl.gz", gzip.compress(pickle.dumps({"a": 1}, 5)), ["Python pickle"]),
        ("x.db", _sqlite(), ["SQLite", "export"]),
        ("x.h5", b"\x89HDF\r\n\x1a\n" + bytes(60), ["HDF5"]),
        ("x.orc", b"ORC\x00\x01" + bytes(60), ["is ORC"]),
        ("x.csv", b"\n<!DOCTYPE html><html>", ["web page"]),
        ("x.xls", b"<table border=1><tr><td>", ["is a table in HTML", "CSV"]),
        ("x.xml", b'\xef\xbb\xbf<?xml version="1.0"?><rows/>', ["is XML", "save it as CSV"]),
        (
            "x.xls",
            b'<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?><Workbook/>',
            ["is an Excel workbook as XML", "CSV"],
        ),
        ("x.dta", _stata(114), ["is a Stata file", "CSV"]),
        ("x.dta", _stata(118), ["is a Stata file", "CSV"]),
        ("x.sas7bdat", bytes(12) + b"\xc2\xea\x81\x60\xb3\x14", ["is a SAS file", "CSV"]),
        ("x.sav", b"$FL2@(#) SPSS DATA FILE" + bytes(60), ["is an SPSS file", "CSV"]),
        ("x.arrow", _arrow_stream(), ["is an Arrow stream", "parquet"]),
        ("x.csv", A.encode("utf-16-le"), ["is UTF-16 text", "save it as UTF-8"]),
        ("x.csv", A.encode("utf-16-be"), ["is UTF-16 text", "save it as UTF-8"]),
        ("x.csv", A.encode("utf-32"), ["is UTF-32 text", "save it as UTF-8"]),
        ("x.csv", A.encode("utf-32-be"), ["is UTF-32 text", "save it as UTF-8"]),
        ("x.csv", b"version https://git-lfs.github.com/spec/v1\noid x\n", ["Git LFS"]),
    ],
)
def test_what_is_no_table_is_named(write, name, content, words):
    message = refusal(write(name, content))
    for word in words:
        assert word in message, message


def test_a_header_may_begin_with_the_letters_of_a_format(write):
    for header in ("ORCHID", "RDX_user", "Obj"):
        text = f"{header},user,item\n1,2,3\n"
        assert pairs(load_path(write("x.csv", text))) == [(2, 3)]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.csv": A, "b.csv": B}, "holds a.csv, b.csv: expected train, test"),
        ({"a.csv": "x,y\n1,2\n", "b.csv": "x,z\n1,2\n"}, "holds a.csv, b.csv: expected train"),
        ({"fold1.csv": A, "fold2.csv": B}, "holds fold1.csv, fold2.csv"),
        ({}, "holds nothing that could be read"),
        ({"_SUCCESS": "", ".hidden": "x"}, "holds nothing that could be read"),
        ({"test.csv": A, "test2.csv": B}, "holds test.csv, test2.csv"),
        ({"train.csv": A, "train/part-0.csv": B}, "two train files"),
        ({"a.inter": A, "b.inter": B}, "holds a.inter, b.inter"),
        ({"_delta_log/0.json": "{}", "part-0.parquet": parquet(A)}, "is a Delta table"),
        ({"a/deep/x.csv": A, "b/y.csv": B}, "holds a/deep/x.csv, b/y.csv"),
        ({"part-0.csv": "", "part-1.csv": ""}, "is empty"),
        ({"part-0.csv": "user,item\n", "part-1.csv": "user,item\n"}, "has a header but no rows"),
        ({"part-0.csv": A, "part-1.csv": "user,thing\n1,2\n"}, "part-1.csv: has no item column"),
    ],
)
def test_what_cannot_be_chosen_is_listed(write, tmp_path, files, words):
    (tmp_path / "x").mkdir()
    for name, content in files.items():
        write(f"x/{name}", content)
    assert words in refusal(tmp_path / "x")


def test_parts_of_which_only_some_have_times(write, tmp_path):
    write("x/part-0.csv", A)
    write("x/part-1.csv", "user,item\n2,2\n")
    data = load_path(tmp_path / "x")
    assert not data.interactions.ordered
    assert "part-1.csv: the time is not there" in data.interactions.order_problem


def test_lists_in_parts_must_not_share_users(write, tmp_path):
    write("x/part-0.csv", "UserId,ItemId\n1,5 6\n")
    write("x/part-1.csv", "UserId,ItemId\n2,5 7\n")
    data = load_path(tmp_path / "x")
    assert pairs(data) == [(1, 5), (1, 6), (2, 5), (2, 7)]
    assert data.interactions.ordered
    write("x/part-1.csv", "UserId,ItemId\n1,5 7\n")
    assert "user '1' has two rows of items" in refusal(tmp_path / "x")
    # one item per row in every part: a long table, whoever comes in two of them
    write("x/part-0.csv", "UserId,ItemId\n1,5\n2,5\n")
    write("x/part-1.csv", "UserId,ItemId\n1,7\n3,5\n")
    data = load_path(tmp_path / "x")
    assert pairs(data) == [(1, 5), (1, 7), (2, 5), (3, 5)]
    assert not data.interactions.ordered


def test_a_folder_that_links_to_itself_ends(write, tmp_path):
    write("x/a.csv", A)
    (tmp_path / "x" / "again").symlink_to(tmp_path / "x")
    assert len(pairs(load_path(tmp_path / "x"))) == 2


@pytest.mark.parametrize(
    ("train", "test", "wanted", "note"),
    [
        ("1", "user\n1.0\n2.0\n", ["1", "2"], "user ids such as '1.0' are read as 1"),
        ("0001", "user\n1\n2\n", ["0001", "0002"], "user ids such as '1' are read as 0001"),
        ("1.0", "user\n1\n", ["1"], "user ids such as '1.0' are read as 1"),
        ("a", "user\na \n", ["a"], ""),
        ("1", "1\n2\n", ["1", "2"], ""),
        ("1", "1.0\r\n", ["1"], "user ids such as '1.0' are read as 1"),
        ("1", f'user,text\n1,"{"x" * 200_000}\n"\n', ["1"], ""),
    ],
)
def test_users_by_the_same_rule_for_ids(write, tmp_path, train, test, wanted, note):
    write("x/train.csv", f"user,item\n{train},2\n{train},3\n")
    write("x/test.csv", test)
    data = load_path(tmp_path / "x")
    assert list(data.receivers.names) == wanted
    assert note in " ".join(data.interactions.notes)


def test_pieces_without_an_ending_and_folders_around_text(write, tmp_path):
    write("x/xaa", A)
    write("x/xab", "1,4,9\n")
    assert "put the pieces of one together (cat)" in refusal(tmp_path / "x")
    write("y/date=2024-01-01/part-0.csv", A)
    write("y/date=2024-01-02/part-0.csv", B)
    notes = load_path(tmp_path / "y").interactions.notes
    assert "the folders date=... count as columns only for parquet files" in notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("| user | item |\n|---|:---|\n| 1 | 2 |\n", "line 2 is '|---|:---|': a table formatted"),
        (" user | item \n------+------\n 1 | 2\n", "line 2 is '------+------': a table formatted"),
        ("+---+---+\n| user | item |\n", "line 1 is '+---+---+': a table formatted"),
        ("sep=;\nuser;item\n1;2\n", "line 1 is 'sep=;', which is for Excel: leave it out"),
    ],
)
def test_tables_for_the_eye(write, text, message):
    assert message in refusal(write("x.txt", text))


def test_tables_beside_a_ready_split_are_named(write, tmp_path):
    """A copy, a list of users that no rule knows, a sample that says nothing: none in silence."""
    for name in ("train.csv", "train (1).csv", "test_users.csv", "items.csv"):
        write(f"d/{name}", A)
    write("d/test.csv", B)
    write("d/sample_submission.csv", "id,items\n0,1 2\n")
    write("d/readme.txt", "hello")
    write("d/empty.csv", "")
    notes = load_path(tmp_path / "d").interactions.notes
    assert "not read: items.csv, test_users.csv, train (1).csv" in notes
    assert "not read: sample_submission.csv" in notes


def test_a_sample_that_names_others_than_the_test_file(write, tmp_path):
    write("d/train.csv", A)
    write("d/test.csv", "user_id\n1\n7\n")
    write("d/sample_submission.csv", "user_id,items\n7,2\n1,2\n")
    assert not any("sample" in note for note in load_path(tmp_path / "d").interactions.notes)
    write("d/sample_submission.csv", "user_id,items\n1,2\n")
    data = load_path(tmp_path / "d")
    assert data.receivers.names == ["1", "7"]
    assert (
        "sample_submission.csv has other users than test.csv: the latter is used"
        in data.interactions.notes
    )


def test_two_samples_are_named(write, tmp_path):
    write("d/train.csv", A)
    for name in ("sample_submission.csv", "sampleSubmission2.csv"):
        write(f"d/{name}", "user_id,items\n1,2\n")
    data = load_path(tmp_path / "d")
    assert data.receivers is None
    assert "not read: sampleSubmission2.csv, sample_submission.csv" in data.interactions.notes


def test_decimals_of_any_size_are_ids(tmp_path):
    huge = [Decimal("1" + "0" * 30 + "7.00"), Decimal("12.00"), Decimal("12.00")]
    table = {"user": pa.array(huge, pa.decimal256(50, 2)), "item": [1, 2, 3]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    assert pairs(load_path(tmp_path / "x.parquet")) == [
        ("1" + "0" * 30 + "7", 1),
        ("12", 2),
        ("12", 3),
    ]
    table = {"user": pa.array([Decimal("1.25")], pa.decimal128(9, 2)), "item": [1]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    assert "row 1, column user: user is 1.25: expected a whole number" in refusal(
        tmp_path / "x.parquet"
    )


def test_bytes_that_are_no_text_name_their_column(tmp_path):
    table = pa.table({"user": pa.array([b"\xff\x01"], pa.binary()), "item": [1]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert "column user: user is bytes that are not UTF-8" in refusal(tmp_path / "x.parquet")


LISTS = {"user": [1, 2, 3], "item": [[5, 6], [], [7, 8]]}


def _table(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("lists", "what"),
    [
        ([[1, 2], [], [3]], "list has 1 values for 2 items: expected one for each"),
        ([[1, 2], None, None], "list is missing (null)"),
    ],
)
def test_lists_that_do_not_fit_stop_only_who_needs_them(tmp_path, lists, what):
    path = _table(tmp_path / "x.parquet", **LISTS, rating=lists)
    data = load_path(path)
    note = f"column rating is not used: a rating {what} ({path}, row 3)"
    assert note in data.interactions.notes
    assert data.interactions.ordered  # as lists without a time are
    assert f"row 3, column rating: rating {what}" in refusal(path, min_rating=1)
    path = _table(tmp_path / "y.parquet", **LISTS, time=lists, rating=lists)
    data = load_path(path)
    assert pairs(data) == [(1, 5), (1, 6), (3, 7), (3, 8)]
    assert not data.interactions.ordered
    assert f"row 3, column time: the time {what}" in data.interactions.order_problem
    good = _table(tmp_path / "z.parquet", **LISTS, time=lists, rating=[[1, 4], None, [4, 4]])
    data = load_path(good, min_rating=2)
    assert pairs(data) == [(1, 6), (3, 7), (3, 8)]
    assert f"row 3, column time: the time {what}" in data.interactions.order_problem


@pytest.mark.parametrize(
    "kind",
    [
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.large_string(),
        pa.dictionary(pa.int32(), pa.binary()),
    ],
)
def test_times_and_ratings_are_text_however_it_is_stored(tmp_path, kind):
    def column(values):
        if pa.types.is_dictionary(kind):
            return pa.array(values, pa.string()).dictionary_encode().cast(kind)
        return pa.array(values, pa.string()).cast(kind)

    times, ratings = column(["2024-01-02", "2024-01-01"]), column(["2", "5"])
    long = _table(tmp_path / "x.parquet", user=[1, 1], item=[5, 6], time=times, rating=ratings)
    assert pairs(load_path(long)) == [(1, 6), (1, 5)]
    assert pairs(load_path(long, min_rating=3)) == [(1, 6)]
    ends = pa.array([0, 2], pa.int32())
    lists = {
        "time": pa.ListArray.from_arrays(ends, times),
        "rating": pa.ListArray.from_arrays(ends, ratings),
    }
    assert pairs(load_path(_table(tmp_path / "y.parquet", user=[1], item=[[5, 6]], **lists))) == [
        (1, 6),
        (1, 5),
    ]


def test_times_that_are_bytes_but_no_text_are_left_out(tmp_path):
    bad = pa.array([b"\xff\x01"], pa.binary())
    data = load_path(_table(tmp_path / "x.parquet", user=[1], item=[5], time=bad, rating=bad))
    assert "column time: the time has type binary" in data.interactions.order_problem
    assert any("column rating is not used" in note for note in data.interactions.notes)


RATING = "1\t2\t3\t978300760\n"


@pytest.mark.parametrize(
    ("files", "cure"),
    [
        (
            ["ml-1m.train.rating", "ml-1m.test.rating", "ml-1m.test.negative"],
            "rename ml-1m.train.rating to train.csv and ml-1m.test.rating to test.csv",
        ),
        (
            ["train_data.tsv", "test_data.tsv"],
            "rename train_data.tsv to train.tsv and test_data.tsv to test.tsv",
        ),
        (
            ["trainData.csv", "valData.csv", "testData.csv"],
            "rename trainData.csv to train.csv and valData.csv to valid.csv and testData.csv",
        ),
        (["interactions_train.csv", "interactions_test.csv"], "rename interactions_train.csv to"),
        (["part-train.csv", "part-test.csv"], "rename part-train.csv to train.csv"),
        (["split=train/0.csv", "split=test/0.csv"], "rename split=train/0.csv to train.csv"),
        (["u1.base", "u1.test"], "rename u1.base to train.base and u1.test to test.csv"),
        (["u1.base", "u1.test", "u2.base", "u2.test"], "put one of each in a folder"),
    ],
)
def test_train_and_test_under_other_names_are_never_one_table(write, tmp_path, files, cure):
    for name in files:
        write(f"x/{name}", RATING)
    message = refusal(tmp_path / "x")
    assert "the names tell train from test" in message
    assert cure in message
    assert "cat" not in message


def test_a_column_that_only_the_folders_of_csv_have(write, tmp_path):
    for n, header in ((1, "item_id"), (2, "item_id,rating")):
        for user in (1, 2):
            write(f"x{n}/user_id={user}/part-0.csv", header + "\n5,1\n"[: 1 + 2 * n] + "\n")
        message = refusal(tmp_path / f"x{n}")
        assert "the folders user_id=... count as columns only for parquet files" in message


def test_words_in_a_test_file_are_users_under_a_header(write, tmp_path):
    write("x/train.csv", "user,item\nann,hat\nbob,cap\n")
    write("x/test.csv", "ann\nbob\n")
    message = refusal(tmp_path / "x")
    assert "line 1 is 'ann': one column" in message
    assert (
        "if these are the users to recommend for, the header user_id in line 1 says so" in message
    )
    write("x/test.csv", "user_id\nann\nbob\n")
    assert load_path(tmp_path / "x").receivers.names == ["ann", "bob"]


def test_zips_as_windows_writes_them(write):
    names = ["data\\train.csv", "data\\test.csv"]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in zip(names, (A, "user,item,time\n1,9,9\n"), strict=True):
            archive.writestr(name, text)
    data = load_path(write("x.zip", buffer.getvalue()))
    assert pairs(data) == [(1, 3), (1, 2)]
    assert data.ready_test.nnz == 1


def test_what_a_zip_should_be_unpacked_for(write):
    inner = zipped({"a.csv": A})
    assert "unpack it and give what was in it" in refusal(write("x.zip", zipped({"b.zip": inner})))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.csv", A)
    message = refusal(write("x.zip", buffer.getvalue()))
    assert "packed by another method than deflate: unpack the zip" in message


@pytest.mark.parametrize("address", ["https://example.org/a.csv", "s3://bucket/a.parquet"])
def test_addresses_are_no_paths(address):
    message = refusal(Path(address))
    assert message == (
        f"'{address}' is an address, not a path: download it first, and give the path of the file"
    )


def test_a_missing_value_in_rows_of_known_types_has_its_place(write, tmp_path):
    write("x/part-0.parquet", parquet("user,item\n1,a\n"))
    write("x/part-1.parquet", parquet("user,item\n1,b\n2,c\n", item=["b", "None"]))
    message = refusal(tmp_path / "x")
    assert "part-1.parquet: row 2, column item: item 'None' is a missing value" in message
    text = '{"user":1,"item":"a"}\n\n{"user":1,"item":"None"}\n'
    assert "line 3, key item: item 'None' is a missing" in refusal(write("x.jsonl", text))


def test_folders_that_give_no_column_are_named(write, tmp_path):
    for day in (1, 2):
        write(f"x/dt=2024-01-0{day}/hour=1/part-0.parquet", parquet(f"user,item\n1,{day}\n"))
    assert "columns not used: dt, hour" in load_path(tmp_path / "x").interactions.notes


def test_a_folder_called_test_beside_others_is_a_part_like_them(write, tmp_path):
    write("x/env=test/part-0.parquet", parquet(A))
    write("x/env=prod/part-0.parquet", parquet(B))
    assert pairs(load_path(tmp_path / "x")) == TOGETHER
