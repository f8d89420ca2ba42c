"""Columns that nobody needs, and what is said about those that are left out."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.read import load_path
from recsys.errors import UserError
from search.cli.arguments import parse_columns
from tests.data.conftest import pairs, refusal

ODD = "user_id,item_id,rating,date\n1,5,PG-13,soon\n1,6,R,\n"


def notes(data) -> str:
    return "\n".join(data.interactions.notes)


def test_a_rating_that_is_none_is_left_out_where_nothing_asks_for_it(write):
    data = load_path(write("x.csv", ODD))
    assert pairs(data) == [(1, 5), (1, 6)]
    assert notes(data).count("column rating is not used: ") == 1
    assert "column rating is not used: 'PG-13' is not a number (" in notes(data)
    assert "x.csv, line 2)" in notes(data)
    assert "line 2, column rating: rating is 'PG-13'" in refusal(write("x.csv", ODD), min_rating=3)


def test_the_first_rating_that_is_none_is_shown_with_its_place(write, tmp_path):
    """In the file that has it, at its line in text, else its row, of lists too."""
    good = "user_id,item_id,rating\n1,5,3\n2,6,4\n"
    write("d/part-0.csv", good)
    write("d/part-1.csv", "user_id,item_id,rating\n1,7,3\n\n2,8,none given\n3,5,?\n")
    said = notes(load_path(tmp_path / "d"))
    assert "column rating is not used: 'none given' is not a number (" in said
    assert "part-1.csv, line 4)" in said and "part-0" not in said
    lists = {"item": [[5], [], [6, 7]], "rating": [[1], [], [2, None]], "time": [[1], [], [2, 3]]}
    pq.write_table(pa.table({"user": [1, 2, 3], **lists}), tmp_path / "x.parquet")
    said = notes(load_path(tmp_path / "x.parquet"))
    assert "a rating is missing (null) (" in said
    assert "x.parquet, row 3)" in said


@pytest.mark.parametrize("text", ["timestamp=", "timestamp=none", "timestamp=None,rating="])
def test_a_role_can_be_left_out(write, text):
    data = load_path(write("x.csv", ODD), columns=parse_columns(text))
    assert pairs(data) == [(1, 5), (1, 6)]
    assert "time" not in notes(data).replace("timestamp", "")
    assert "columns not used:" in notes(data) and "date" in notes(data)


@pytest.mark.parametrize("text", ["user=", "user=none", "item=none"])
def test_users_and_items_cannot(write, text):
    with pytest.raises(UserError, match="expected"):
        load_path(write("x.csv", ODD), columns=parse_columns(text))


def test_columns_without_a_role_are_named(write):
    data = load_path(write("x.csv", "user,item,title,label\n1,5,x,0\n1,6,y,1\n"))
    assert "columns not used: title, label; if label tells" in notes(data)
    assert "--min-rating" in notes(data)
    kept = load_path(write("x.csv", "user,item,title,label\n1,5,x,0\n1,6,y,1\n"), min_rating=1)
    assert pairs(kept) == [(1, 6)]
    assert "1 of 2 rows have a rating of at least 1" in notes(kept)


def test_explicit_negatives_among_ratings(write):
    data = load_path(write("x.csv", "user,item,rating\n1,5,0\n1,6,1\n1,7,1\n"))
    assert "1 of them are rated 0 or less (--min-rating 1 leaves these out)" in notes(data)
    data = load_path(write("x.csv", "user,item,rating\n1,5,0\n1,6,0.5\n1,7,5\n"))
    assert "(--min-rating 0.5 leaves these out)" in notes(data)
    data = load_path(write("x.csv", "user,item,rating\n1,5,0\n1,6,-1\n"))
    assert "2 of them are rated 0 or less" in notes(data)
    assert "--min-rating" not in notes(data)
    least = 0.12345678901  # as written, not rounded up, which would leave it out
    data = load_path(write("x.csv", f"user,item,rating\n1,5,0\n1,6,{least}\n"))
    assert f"(--min-rating {least} leaves these out)" in notes(data)


def test_a_part_filtered_empty_has_its_own_highest_rating(write, tmp_path):
    write("d/train/part-0.csv", "user,item,rating\n1,2,4\n1,3,5\n")
    write("d/train/part-1.csv", "user,item,rating\n1,4,4\n1,5,3\n")
    write("d/test.csv", "user,item,rating\n1,6,2\n1,7,1\n")
    message = refusal(tmp_path / "d", min_rating=3)
    assert "test.csv: has no rating of at least 3: the highest is 2, lower min_rating" in message


def test_two_columns_for_a_role_that_nobody_asks_for(write):
    text = "user,item,rating,score,date,ts\n1,5,1,9,2024-01-01,3\n"
    data = load_path(write("x.csv", text))
    assert "columns 'rating' and 'score' could each be the rating: none is used" in notes(data)
    assert "could each be the timestamp" in notes(data)
    assert "two rating columns" in refusal(write("x.csv", text), min_rating=1)


@pytest.mark.parametrize(
    ("yes", "no"), [("true", "false"), ("True", "False"), ("t", "f"), ("Yes", "no"), (" y", "N ")]
)
def test_ratings_in_words_for_yes_and_no(write, yes, no):
    path = write("x.csv", f"user,item,rating\n1,5,{yes}\n1,6,{no}\n2,6,{yes}\n")
    assert "1 of them are rated 0 or less (--min-rating 1 leaves these out)" in notes(
        load_path(path)
    )
    assert pairs(load_path(path, min_rating=1)) == [(1, 5), (2, 6)]


def test_ratings_with_a_decimal_comma(write):
    path = write("x.csv", "user;item;rating\r\n1;5;4,5\r\n1;6;3\r\n2;6;3,75\r\n")
    assert "not used" not in notes(load_path(path))
    assert pairs(load_path(path, min_rating=3.75)) == [(1, 5), (2, 6)]


@pytest.mark.parametrize(
    ("ratings", "line", "wanted"),
    [
        (["true", "1"], 3, "expected true or false, as in the rows before"),
        (["1", "true"], 3, "expected a number"),
        (["1,234", "2"], 2, "expected a number"),
        (["3,5", "3.5,1"], 3, "expected a number"),
        (["yes", "maybe"], 3, "expected true or false"),
    ],
)
def test_ratings_of_two_kinds(write, ratings, line, wanted):
    rows = "".join(f"{n};5;{rating}\n" for n, rating in enumerate(ratings))
    path = write("x.csv", "user;item;rating\n" + rows)
    message = refusal(path, min_rating=1)
    assert f"line {line}, column rating" in message
    assert wanted in message
    assert "column rating is not used" in notes(load_path(path))
