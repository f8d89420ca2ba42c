"""Cutting text into blocks of whole rows, against the plain reader of quoted cells."""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data import blocks
from recsys.data.blocks import StrayQuoteError, blocks_of
from recsys.data.read import load_path
from tests.data.conftest import pairs, refusal


class Text(io.BytesIO):
    """What a `TextStream` is to `blocks_of`."""


def plain_rows(text: str) -> list[list[str]] | None:
    lines = iter(text.replace("\r", "\n").split("\n"))
    found = []
    for line in lines:
        if line:
            cells = blocks.unquoted(line, ",", lines)
            if cells is None:
                return None
            found.append(cells)
    return found


@settings(max_examples=1500, deadline=None, database=None)
@given(
    st.text(st.sampled_from('"",\n\rab"\\'), max_size=40),
    st.integers(1, 12),
)
def test_cut_anywhere_the_rows_stay_the_same(text, size):
    """However small the blocks are, each holds whole rows, as the plain reader sees them."""
    wanted = plain_rows(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", size)
        try:
            found = list(blocks_of(Text(text.encode()), ","))
        except StrayQuoteError:
            assert wanted is None
            return
    assert wanted is not None
    assert b"".join(block.text for block in found).decode() == text
    assert [row for b in found for row in plain_rows(b.text.decode())] == wanted
    rows = [row for row in wanted if any("\n" in cell for cell in row)]
    assert any(block.tall for block in found) == bool(rows)


def test_line_breaks_in_a_cell_that_nobody_needs(write):
    text = 'user,item,review\n1,10,"fine,\nor not\r\n\r\n""so"""\n1,12,plain\n2,10,"x"\n'
    assert pairs(load_path(write("x.csv", text))) == [(1, 10), (1, 12), (2, 10)]


def test_cells_of_any_length(write):
    text = 'user,item,review\n1,10,"' + "x" * 150_000 + '"\n2,10,"' + "y\n" * 150_000 + '"\n'
    assert pairs(load_path(write("x.csv", text))) == [(1, 10), (2, 10)]


def test_arrow_is_given_memory_of_its_own():
    """No Python object may be held by Arrow's threads when the interpreter ends."""
    before = pa.total_allocated_bytes()
    reader = blocks.Block(b"a,b\n" * 1000, False).in_arrow()
    assert pa.total_allocated_bytes() - before >= 4000
    assert isinstance(reader, pa.NativeFile) and not isinstance(reader, pa.PythonFile)
    assert reader.read() == b"a,b\n" * 1000


@pytest.mark.parametrize("packed", [False, True])
def test_parquet_is_given_a_file_of_arrows_own(write, packed, monkeypatch):
    import zipfile

    import pyarrow.parquet as pq

    from recsys.data.formats import parquet

    out = io.BytesIO()
    pq.write_table(pa.table({"user": [1, 2], "item": [3, 4]}), out)
    content = out.getvalue()
    if packed:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("train.parquet", content)
        content = out.getvalue()
    given = []

    class Seen(pq.ParquetFile):
        def __init__(self, source, **options):
            given.append(source)
            super().__init__(source, **options)

    monkeypatch.setattr(parquet.pq, "ParquetFile", Seen)
    assert pairs(load_path(write("x.zip" if packed else "x.parquet", content))) == [(1, 3), (2, 4)]
    assert given and all(type(g) in (pa.OSFile, pa.BufferReader) for g in given)
    assert np.array_equal(given[0].closed, True)


@pytest.mark.parametrize(
    "cell",
    [
        r'"The \"Best\" hat"',
        r'"\"Best\""',
        r'"\"The hat\" and, more"',
        r'"hat \""',
        '"one \\"line\\"\nand more"',
    ],
)
@pytest.mark.parametrize("row", ["ann,{},1\n", "{},hat,1\n", "ann,hat,{}\n"])
def test_quotes_behind_a_backslash_are_refused(write, cell, row):
    text = "user,item,text\nann,x,1\n" + row.format(cell) + "bob,cap,1\n"
    message = refusal(write("x.csv", text))
    assert 'line 3 has a quote after a backslash (\\"): expected quotes inside' in message
    assert 'option("escape", "\\"")' in message


def test_a_separator_behind_such_a_quote(write):
    message = refusal(write("x.csv", 'user,item\nann,"a \\", b"\n'))
    assert "line 2 has 3 columns: expected 2; a quote after a backslash" in message


def test_a_separator_behind_a_backslash_is_no_part_of_its_cell(write):
    message = refusal(write("x.csv", "user,item\nu,a\\,b\n"))
    assert "line 2 has 3 columns: expected 2; a backslash does not join cells" in message


def test_a_backslash_may_end_a_cell_or_stand_in_a_plain_one(write):
    text = 'user,item\nann,"C:\\"\nann,"D:\\"\r\nbob,a \\"b\\" c\nbob,"E:\\"'
    data = load_path(write("x.csv", text), columns={"user": "user", "item": "item"})
    assert pairs(data) == [
        ("ann", "C:\\"),
        ("ann", "D:\\"),
        ("bob", 'a \\"b\\" c'),
        ("bob", "E:\\"),
    ]
