"""Files of ids alone, as people have them: columns, single columns, sample submissions."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.ids_file import read_ids
from recsys.errors import InputError

TEXTS = {
    "a column": ("age,user_id\n30,7\n40,5\n", "user", ["7", "5"]),
    "a sample submission": ("UserId,ItemId\n7,1 2\n5,\n7,3\n", "user", ["7", "5"]),
    "tabs": ("name\tmovieId\nAlien\t12\n", "item", ["12"]),
    "a single column": ("ItemId\n12\n7\n", "item", ["12", "7"]),
    "numbers alone": ("12\n7\n\n12\n", "item", ["12", "7"]),
    "words alone": ("red shoes\nhat\n", "item", ["red shoes", "hat"]),
    "quoted words": ('"a, b"\n"say ""x"""\n', "item", ["a, b", 'say "x"']),
    "Windows": ("\ufeffuser_id\r\n7\r\n5\r\n", "user", ["7", "5"]),
    "tabs in words": ('item_id\n"red\tshoes"\nhat\n', "item", ["red\tshoes", "hat"]),
    "zeros stay": ("user\n007\n", "user", ["007"]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts(name: str, tmp_path: Path) -> None:
    text, role, ids = TEXTS[name]
    path = tmp_path / "ids.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_ids(path, role).names == ids
    path.write_bytes(gzip.compress(text.encode()))
    assert read_ids(path, role).names == ids


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    pq.write_table(pa.table({"age": [1, 2], "user_id": [7, 5]}), path)
    assert read_ids(path, "user").names == ["7", "5"]
    pq.write_table(pa.table({"whatever": pa.array(["a", "b", "a"]).dictionary_encode()}), path)
    assert read_ids(path, "item").names == ["a", "b"]
    pq.write_table(pa.table({"user_id": pa.array(["a", None])}), path)
    with pytest.raises(InputError, match="user 2 is empty"):
        read_ids(path, "user")
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(InputError, match="expected parquet with item ids"):
        read_ids(path, "item")


def test_what_is_in_doubt_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    for text, role, words in (
        ("user_id,customer\n1,2\n", "user", "2 columns of users"),
        ("a;b\n1;2\n", "user", "no column of users"),
        ('"open\n1\n', "item", "stray quote"),
        ("item_id\nred\tshoes\n", "item", "row 2 has 2 cells: expected only an id"),
        ("user_id;age\n7;3\n8\n", "user", "row 3 has 1 cells: expected 2, as in the first"),
        ("item_id\n7\n#N/A\n", "item", "item 2 is '#N/A', a missing value"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_ids(path, role)
    path.write_bytes("é\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_ids(path, "item")
