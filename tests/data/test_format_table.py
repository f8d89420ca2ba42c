"""The table of formats: every file reaches its own entry, and the README has the table."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from recsys.data import formats
from recsys.data.files import find_sources
from recsys.data.formats import FORMATS, find_format, format_rows
from recsys.data.layout import Head
from recsys.data.read import load_path
from recsys.errors import InputError
from tests.data.conftest import pairs, refusal

ROOT = Path(__file__).resolve().parents[2]


def parquet() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"user": [1, 1, 2], "item": [10, 12, 10]}).to_parquet(buffer)
    return buffer.getvalue()


# one small file of every format, with the same pairs in it
FILES: Mapping[str, tuple[str, str | bytes]] = {
    "parquet": ("x.parquet", parquet()),
    "json lines": (
        "x.json",
        '{"user": 1, "item": 10}\n{"user": 1, "item": 12}\n{"user":2,"item":10}',
    ),
    "recbole": ("x.inter", "user_id:token\titem_id:token\n1\t10\n1\t12\n2\t10\n"),
    "double colon": (
        "ratings.dat",
        "1::10::5::1000000000\n1::12::4::1000000001\n2::10::1::1000000000",
    ),
    "u.data": ("u.data", "1\t10\t5\t1000000000\n1\t12\t4\t1000000001\n2\t10\t1\t1000000000\n"),
    "bare lists": ("x.csv", "1,10 12\n2,10\n"),
    "lines": ("train.txt", "1 10 12\n2 10\n"),
    "numbers": ("x.csv", "1,10\n1,12\n2,10\n"),
    "lists": ("train.csv", "UserId,ItemId\n1,10 12\n2,10\n"),
    "long": ("x.csv", "user;item\n1;10\n1;12\n2;10\n"),
}


def test_every_format_has_a_file_here():
    assert list(FILES) == [format.name for format in FORMATS]


@pytest.mark.parametrize("name", FILES)
def test_a_file_reaches_its_own_reader(write, monkeypatch, name):
    """Only the entry of its name finds it, and what is loaded was read by what it found."""
    path = write(*FILES[name])
    (source,) = find_sources(path).parts["all"]
    format, table = find_format(Head(source))
    assert format.name == name
    table.check()
    read = []
    monkeypatch.setattr(type(table), "read", spied(type(table).read, read))
    assert pairs(load_path(path)) == [(1, 10), (1, 12), (2, 10)]
    assert list(map(what, read)) == [what(table)]


def what(table):
    """What tells one table from another: its reader, and the layout of a text."""
    return type(table), getattr(table, "layout", None)


def spied(read, calls):
    """`read` of a table, which also notes the table."""

    def noted(table, rows):
        calls.append(table)
        return read(table, rows)

    return noted


@pytest.mark.parametrize("name", FILES)
def test_without_its_entry_a_file_is_not_read_as_before(write, monkeypatch, name):
    """No entry is idle: without it the file fits none, or is another thing."""
    rest = tuple(format for format in FORMATS if format.name != name)
    (source,) = find_sources(write(*FILES[name])).parts["all"]
    _, table = find_format(Head(source))
    monkeypatch.setattr(formats, "FORMATS", rest)
    try:
        _, other = find_format(Head(source))
    except InputError:
        return
    # u.data is a table of numbers too: its entry says more where columns are named
    assert (what(other) == what(table)) == (name == "u.data")


def test_what_fits_no_format_is_refused(write):
    assert "expected column names separated by" in refusal(write("x.csv", "nothing of the kind\n"))
    assert "has no item column" in refusal(write("x.csv", "user,thing\n1,2\n"))
    assert "expected a header with a user and an item" in refusal(write("x.csv", "a,3\n1,2\n"))
    (source,) = find_sources(write("x.csv", "user,item\n1,2\n")).parts["all"]
    with pytest.raises(InputError, match="a zip inside a zip"):
        find_format(Head(replace(source, open_raw=lambda: io.BytesIO(b"PK\x03\x04" + bytes(9)))))


def test_the_readme_has_the_table():
    text = (ROOT / "README.md").read_text()
    assert f"| format | how it is known |\n|---|---|\n{format_rows()}\n" in text
