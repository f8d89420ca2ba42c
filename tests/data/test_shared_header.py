"""Files of which only some have a header: they take it from each other, or are refused."""

import pytest

from recsys.data.read import load_path
from tests.data.conftest import pairs, refusal


@pytest.mark.parametrize(
    ("first", "second", "columns", "wanted"),
    [
        ("item_id,user_id,rating\n501,1,4\n", "502,2,4\n", None, [(1, 501), (2, 502)]),
        ("id,user_id,item_id\n1,9,501\n", "2,8,501\n", None, [(8, 501), (9, 501)]),
        ("item,user\nhat,ann\n", "cap,bob\n", None, [("ann", "hat"), ("bob", "cap")]),
        ("item,user\n", "1,8\n2,7\n", None, [(7, 2), (8, 1)]),
        (
            "Artikel,Kunde\n1,8\n",
            "1,9\n",
            {"user": "Kunde", "item": "Artikel"},
            [(8, 1), (9, 1)],
        ),
        ("UserId,ItemId\n1,8 9\n", "2,9 8\n", None, [(1, 8), (1, 9), (2, 9), (2, 8)]),
        (
            "item\tuser\trating\ttime\n5\t1\t3\t978300760\n",
            "6\t2\t3\t978300760\n",
            None,
            [(1, 5), (2, 6)],
        ),
    ],
)
def test_a_part_without_a_header_takes_that_of_another(
    write, tmp_path, first, second, columns, wanted
):
    write("x/part-1.csv", first)
    write("x/part-2.csv", second)
    data = load_path(tmp_path / "x", columns=columns)
    assert pairs(data) == wanted
    header = first.splitlines()[0]
    note = f"part-2.csv has no header: read with that of part-1.csv, {header!r}"
    assert note in data.interactions.notes


def test_one_note_for_all_parts_without_a_header(write, tmp_path):
    for n, text in enumerate(["item,user\n1,7\n", "2,7\n", "3,8\n"]):
        write(f"x/part-{n}.csv", text)
    notes = load_path(tmp_path / "x").interactions.notes
    assert (
        "part-1.csv and 1 more have no header: read with that of part-0.csv, 'item,user'" in notes
    )


def test_parts_of_a_split_share_their_header_too(write, tmp_path):
    write("x/train.csv", "item,user\n1,7\n2,8\n")
    write("x/test.csv", "2,7\n")
    data = load_path(tmp_path / "x")
    assert data.ready_test.indices.tolist() == [1]
    assert data.interactions.user_ids.tolist() == [7, 8]


@pytest.mark.parametrize("second", ["1,2\n", "1\t2\t3\n", "1 2\n"])
def test_other_columns_than_those_of_the_header_are_refused(write, tmp_path, second):
    write("x/part-1.csv", "item,user,rating\n1,7,1\n")
    write("x/part-2.csv", second)
    message = refusal(tmp_path / "x")
    assert "part-2.csv: line 1 is" in message
    assert "no header, and not the 3 columns of part-1.csv (comma between them)" in message


def test_a_header_of_unknown_names_is_no_row(write, tmp_path):
    write("x/part-1.csv", "item,user\n1,7\n")
    write("x/part-2.csv", "what,who\n1,7\n")
    assert "part-2.csv: has no user column" in refusal(tmp_path / "x")


def test_parts_that_have_no_header_at_all_and_lines_of_users_stay_what_they_are(write, tmp_path):
    write("x/part-1.csv", "1,7\n")
    write("x/part-2.csv", "2,7\n")
    assert pairs(load_path(tmp_path / "x")) == [(1, 7), (2, 7)]
    write("y/train.csv", "item,user\n1,7\n2,7\n3,8\n")
    write("y/test.txt", "7 3\n8 1 2\n")
    assert load_path(tmp_path / "y").ready_test.nnz == 3
