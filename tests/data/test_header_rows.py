"""Rows that are none: the header again, or the types of the columns."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.read import load_path
from tests.data.conftest import pairs, refusal

KUNDE = {"user": "Kunde", "item": "Artikel"}


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("x.csv", "Kunde,Artikel\nann,hat\nKunde,Artikel\nbob,cap\n", KUNDE),
        ("x.csv", "Artikel;Kunde\nhat;ann\nartikel;KUNDE\ncap;bob\n", KUNDE),
        ("x.csv", "Kunde,item_id\nann,hat\nKunde,item_id\n", {"user": "Kunde"}),
        ("x.csv", f"{'k' * 60},item\nann,hat\n{'k' * 60},item\n", {"user": "k" * 60}),
        (
            "x.inter",
            "user_id:token\titem_id:token\nu\ti\nuser_id:token\titem_id:token\nv\ti\n",
            None,
        ),
    ],
)
def test_the_header_again_by_the_names_of_the_file(write, name, text, columns):
    message = refusal(write(name, text), columns=columns)
    assert "line 3 repeats the header: were files put together?" in message


def test_numbers_that_pandas_put_for_names_are_ids_too(write):
    data = load_path(write("x.csv", "0,1\n0,1\n2,1\n"), columns={"user": "0", "item": "1"})
    assert pairs(data) == [(0, 1), (2, 1)]


def parquet(**columns: list) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def test_names_of_columns_in_rows_of_known_types(write):
    text = '{"user_id":"u","item_id":"i"}\n\n{"user_id":"user_id","item_id":"item_id"}\n'
    assert "line 3 has the names of the columns as ids" in refusal(write("x.jsonl", text))
    content = parquet(Kunde=["a", "Kunde"], Artikel=["b", "Artikel"])
    message = refusal(write("x.parquet", content), columns=KUNDE)
    assert "row 2 has the names of the columns as ids" in message
    content = parquet(
        user=pa.array(["a", "user"]).dictionary_encode(), item=pa.array([b"b", b"item"])
    )
    assert "row 2 has the names of the columns" in refusal(write("x.parquet", content))
    # each by itself is an id
    content = parquet(user=["a", "user", "user"], item=["item", "b", "c"])
    assert len(pairs(load_path(write("x.parquet", content)))) == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("user_id,item_id,rating\nstring,string,float\nann,hat,1\n", 2),
        ("user_id,item_id\n\nint,int\n1,2\n", 3),
        (
            "user_id\titem_id\tprice\tt\nBIGINT\tVARCHAR(20)\tdecimal(10, 2)\ttimestamp\n1\t2\t3\t",
            2,
        ),
        ("Kunde;Artikel\nint64;object\n1;2\n", 2),
    ],
)
def test_a_row_of_types_below_the_header(write, text, line):
    columns = KUNDE if "Kunde" in text else None
    message = refusal(write("x.csv", text), columns=columns)
    assert f"line {line} is " in message
    assert "types of the columns: leave it out" in message


def test_names_of_types_elsewhere_are_ids(write):
    assert pairs(load_path(write("x.csv", "user,item\ntext,hat\nann,date\n"))) == [
        ("ann", "date"),
        ("text", "hat"),
    ]
