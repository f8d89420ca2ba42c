"""Ids that are rather several items each, and what fills lists up to one length."""

import pandas as pd
import pytest

from recsys.data.read import load_path
from tests.data.conftest import pairs, refusal

OPTION = "--columns user=customer,item=product"
LISTS = [
    ["8,36", "36,54"],
    ["8, 36", "36, 54", "9"],
    ["8;36;54", "36;9"],
    ["8|36", "36|54"],
    ["8.0,36.0", "36.0,9.0"],
    ["8\uff0c36", "36\uff0c9"],
    ["8\u300136", "36\u30019"],
]


@pytest.mark.parametrize("cells", LISTS)
@pytest.mark.parametrize("more", ["", ",date"])
def test_lists_of_numbers_are_no_items(write, cells, more):
    rows = "".join(
        f'{n},"{cell}"{more.replace("date", "2023-01-01")}\n' for n, cell in enumerate(cells)
    )
    path = write("x.csv", f"customer,product{more}\n{rows}")
    message = refusal(path)
    assert "column product: item" in message
    blanks = not more and " " in cells[0]  # which two columns never have, see test_list_cells.py
    assert ("has blanks" if blanks else "is a list of numbers with") in message
    assert OPTION in message
    data = load_path(path, columns={"user": "customer", "item": "product"}).interactions
    assert data.item_ids.tolist() == sorted(cells)
    assert any("item ids look like a list of numbers" in note for note in data.notes)


@pytest.mark.parametrize("cells", [["[8, 36]", "[36, 54]"], ["8,36", "36,54"], ["8 36", "36 54 9"]])
@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.inter"])
def test_lists_as_text_are_no_items_in_any_format(tmp_path, cells, name):
    path = tmp_path / name
    frame = pd.DataFrame({"customer": [1, 2], "product": cells})
    if name == "x.parquet":
        frame.to_parquet(path)
    elif name == "x.jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        typed = frame.rename(columns=lambda name: f"{name}:token")
        typed.to_csv(path, sep="\t", index=False)
    message = refusal(path)
    assert "is a list" in message
    assert any(repr(cell) in message for cell in cells)
    assert OPTION in message
    data = load_path(path, columns={"user": "customer", "item": "product"}).interactions
    assert data.item_ids.tolist() == sorted(cells)
    assert any("2 of 2 item ids look like a list" in note for note in data.notes)


@pytest.mark.parametrize("mark", ["-", "/", ":", "::", "+", "&", "\uff0c", "\u3001"])
def test_marks_between_numbers_under_the_header_of_lists(write, mark):
    cells = [mark.join(own) for own in (["8", "36", "54"], ["36", "9"], ["7"])]
    rows = "".join(f"{n},{cell}\n" for n, cell in enumerate(cells))
    message = refusal(write("x.csv", f"UserId,ItemId\n{rows}"))
    assert "is a list of numbers with" in message
    assert "with blanks between the items" in message
    if mark.isascii():  # one user with two rows: these are ids of several parts
        data = load_path(write("x.csv", f"UserId,ItemId\n{rows}0,{cells[1]}\n")).interactions
        assert data.item_ids.tolist() == sorted(cells)


def test_a_mark_between_blanks_is_no_item(write):
    message = refusal(write("x.csv", "UserId,ItemId\n1,8 / 36\n2,9\n"))
    assert "item '/' is a missing value" in message


def test_json_that_was_encoded_twice_is_a_list(write):
    text = 'UserId,ItemId\n1,"""[8, 36, 54]"""\n2,"""[9]"""\n'
    assert pairs(load_path(write("x.csv", text))) == [(1, 8), (1, 36), (1, 54), (2, 9)]


@pytest.mark.parametrize(
    "ids",
    [
        ["Nut, brown", "t-shirt, red", "8 pack"],
        ["red|blue", "hat;cap", "8,36"],
        ["12-345", "12-346", "13-345", "7-1"],
        ["0-306-40615-2", "3-16-148410-0"],
        ["2023-01-01", "2023-02-01"],
        ["a8,36", "a36,54"],
        ["5,0", "36,0"],
        ["1,008", "981"],
        ["[REC]", "x"],
        ["10.1000/182", "10.1000/183"],
        ["1:2", "2:1"],
    ],
)
def test_names_and_ids_of_several_parts_stay_as_they_are(write, ids):
    rows = "".join(f'{n % 2},"{name}",x\n' for n, name in enumerate(ids))
    data = load_path(write("x.csv", f"customer,product,y\n{rows}")).interactions
    assert data.item_ids.tolist() == sorted(ids)
    assert not any("look like a list" in note for note in data.notes)


@pytest.mark.parametrize(
    "ids", [["100234,1", "100235,2"], ["7|100", "8|200", "9|100"], ["8,36", "9", "10"]]
)
def test_ids_that_are_hardly_lists_get_a_line(write, ids):
    rows = "".join(f'1,"{name}",x\n' for name in ids)
    data = load_path(write("x.csv", f"customer,product,y\n{rows}")).interactions
    assert data.item_ids.tolist() == sorted(ids)
    assert any("look like a list of numbers" in note for note in data.notes)


def test_a_pair_among_many_numbers_is_no_reason_to_refuse(write):
    rows = "".join(f"1,{n}\n" for n in range(100))
    data = load_path(write("x.csv", f'user,item\n{rows}2,"8,36"\n2,"9,36"\n')).interactions
    assert len(data.item_ids) == 102
    assert any("2 of 102 item ids look like a list" in note for note in data.notes)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["[0, 0, 0, 8, 36]", "[0, 0, 54, 8, 9]"], "'0' is repeated at the beginning of 2 of 2"),
        (["[8, 36, 0, 0]", "[9, 0, 0, 0]", "[7, 6, 5, 4]"], "'0' is repeated at the end of 2 of 3"),
        (
            ["['<pad>', '<pad>', 'a']", "['<pad>', '<pad>', 'b']"],
            "'<pad>' is repeated at the beginning",
        ),
    ],
)
def test_what_fills_lists_up_gets_a_line(write, tmp_path, cells, said):
    rows = "".join(f'{n},"{cell}"\n' for n, cell in enumerate(cells))
    notes = load_path(write("x.csv", f"user,item\n{rows}")).interactions.notes
    assert any(said in note for note in notes), notes
    lists = [cell.strip("[]").replace("'", "").split(", ") for cell in cells]
    pd.DataFrame({"user": range(len(cells)), "item": lists}).to_parquet(tmp_path / "x.parquet")
    assert any(said in note for note in load_path(tmp_path / "x.parquet").interactions.notes)


def test_what_somebody_had_twice_in_a_row_fills_nothing_up(write):
    rows = "1,8 8 36\n2,9 9 8\n3,8 9 36\n4,36 9 8 8\n5,36 9\n"
    assert load_path(write("x.csv", f"UserId,ItemId\n{rows}")).interactions.notes == ()


def test_who_has_named_the_columns_is_not_told_to(write):
    path = write("x.csv", 'c,p\n1,"[8, 36]"\n2,[9]\n1,[7]\n')
    message = refusal(path, columns={"user": "c", "item": "p"})
    assert "line 2, column c: user '1' has two rows of items" in message
    assert "--columns" not in message
