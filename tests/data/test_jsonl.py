"""JSON lines: keys are found as columns are, and all that is no line of them is refused by name."""

import gzip
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.read import load_path
from recsys.errors import InputError
from tests.data.conftest import pairs, refusal


def lines(*objects: object) -> str:
    return "".join(json.dumps(o) + "\n" for o in objects)


YELP = [
    {
        "review_id": "x",
        "user_id": "u1",
        "business_id": "b",
        "stars": 1.0,
        "date": "2018-07-08 1:00",
    },
    {
        "review_id": "y",
        "user_id": "u1",
        "business_id": "a",
        "stars": 4.0,
        "date": "2018-07-07 2:00",
    },
]


@pytest.mark.parametrize("name", ["yelp.json", "yelp.jsonl", "yelp.ndjson", "yelp.txt"])
def test_keys_are_names_of_columns(write, name):
    data = load_path(write(name, lines(*YELP)))
    assert pairs(data) == [("u1", "a"), ("u1", "b")]  # by time
    assert "columns not used: review_id" in data.interactions.notes
    assert pairs(load_path(write(name, lines(*YELP)), min_rating=2)) == [("u1", "a")]


def test_the_reviews_of_amazon(write):
    one = {"reviewerID": "A1", "asin": "B7", "overall": 5.0, "reviewTime": "09 13, 2009"}
    rows = [one | {"unixReviewTime": 1252800000 + n, "asin": f"B{n}"} for n in (2, 1)]
    data = load_path(write("reviews_Books_5.json.gz", gzip.compress(lines(*rows).encode())))
    assert pairs(data) == [("A1", "B1"), ("A1", "B2")]
    assert data.interactions.ordered


def test_named_keys_and_what_is_left_out(write):
    path = write("x.jsonl", lines({"who": 1, "what": 2, "date": None}, {"who": 2, "what": 2}))
    columns = {"user": "who", "item": "what"}
    data = load_path(path, columns=columns)
    assert pairs(data) == [(1, 2), (2, 2)]
    assert "line 1" not in data.interactions.order_problem
    assert "row 1, column date: the time is missing" in data.interactions.order_problem
    assert not load_path(path, columns=columns | {"timestamp": "none"}).interactions.order_problem


def test_lists_of_items(write):
    rows = ({"user_id": 1, "item_id": [3, 2]}, {"user_id": 2, "item_id": []})
    data = load_path(write("x.jsonl", lines(*rows)))
    assert pairs(data) == [(1, 3), (1, 2)]
    assert data.interactions.ordered
    assert data.interactions.n_users == 2


def test_what_mongodb_wraps(write):
    row = {"user": {"$oid": "a1"}, "item": {"$numberLong": "7"}}
    times = [{"time": {"$date": f"2024-01-0{n}T00:00:00Z"}} for n in (2, 1)]
    data = load_path(write("x.json", lines(row | times[0], row | times[1] | {"item": 8})))
    assert pairs(data) == [("a1", 8), ("a1", 7)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"user": 1, "item": 2}, {"user": 1}],
            "line 2, key item: item is missing (null): expected",
        ),
        ([{"user": 1, "item": None}], "line 1, key item: item is missing (null): expected"),
        ([{"user": {"id": 1}, "item": 1}], "line 1, key user: user is '{\"id\": 1}': expected a"),
        ([{"user": True, "item": 1}], "user is 'true': expected a text or a whole number"),
        ([{"user": 1.5, "item": 1}], "user is '1.5': expected a whole number"),
        ([{"user": math.nan, "item": 1}], "user is 'NaN': expected a whole number"),
        ([{"user": "", "item": 1}], "user is empty: expected an id"),
        ([{"user": "\ud800", "item": 1}], r"user is '\ud800': expected Unicode"),
        (
            [{"user": 1, "item": [1]}, {"user": 2, "item": 1}],
            "line 2, key item: item is not a list",
        ),
        ([{"user": 1, "item": [1, {}]}], "line 1, key item: item is '{}'"),
        ([{"user": 1, "thing": 2}], "has no item column: it has 'user', 'thing'"),
        ([{"user": "nan", "item": 2}, {"user": "x", "item": 1}], "user 'nan' is a missing value"),
        ([{"user": 1, "item": 2}, [1, 2]], "line 2 is '[1, 2]': expected one object per line"),
        ([{}], "has no user column"),
    ],
)
def test_refused_rows(write, rows, message):
    assert message in refusal(write("x.jsonl", lines(*rows)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"user": 1, "item": 2}]', "is one JSON array: expected one object per line"),
        ('[\n{"user": 1, "item": 2}\n]', "is one JSON array"),
        ("[]", "is one JSON array"),
        ('{"user": {"0": 1}, "item": {"0": 2}}', "is one JSON object that holds whole columns"),
        ('{"schema": {}, "data": []}', "is one JSON object that holds whole columns"),
        ('{\n"user": 1,\n"item": 2\n}', "line 1 is '{': not a whole JSON object (jq -c ."),
        ('{"user": 1, "item": 2}\n{"user": 1, "it', "line 2 is"),
        ('{"user": 1, "item": 2} {"user": 1, "item": 3}\n', "line 1 is"),
        ("{'user': 1, 'item': 2}\n", "line 1 is a Python dict, not JSON"),
        ("{u'user': 1, u'item': 2}\n", "line 1 is a Python dict, not JSON"),
        ('{"user": 1, "item": "\xff"}\n'.encode("latin-1"), "line 1 is not UTF-8"),
        ('{"a":' + "[" * 100_000 + "\n", "not a whole JSON object"),
    ],
)
def test_other_json_is_refused_by_name(write, text, message):
    assert message in refusal(write("x.json", text))


def test_arrays_that_fill_one_long_line(write):
    array = json.dumps([{"user": 1, "item": n} for n in range(30_000)])
    assert "is one JSON array" in refusal(write("x.json", array))


def test_a_table_may_begin_with_a_bracket(write):
    data = load_path(write("x.csv", "[user],item\n1,2\n"), columns={"user": "[user]"})
    assert pairs(data) == [(1, 2)]


def test_a_folder_of_json_lines(write):
    write("d/train.json", lines({"user": 1, "item": 2}))
    write("d/test.json", lines({"user": 1, "item": 3}))
    data = load_path(write("d/about.txt", "x").parent)
    assert data.ready_test is not None
    write("e/review.json", lines({"user": 1, "item": 2}))
    write("e/business.json", lines({"business_id": 1, "name": "x"}))
    assert pairs(load_path(write("e/user.json", lines({"user_id": 1})).parent)) == [(1, 2)]


ids = st.one_of(st.integers(-3, 12), st.sampled_from(["7", "007", "ü x", 'q"q', 2**63, 5.0]))
rows = st.fixed_dictionaries(
    {"user_id": ids, "item_id": ids},
    optional={"rating": st.integers(0, 5), "note": st.none() | st.text(max_size=3)},
)


@settings(max_examples=80, deadline=None, database=None)
@given(st.lists(rows, min_size=1, max_size=30), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_the_same_as_a_csv(tmp_path_factory, table, end):
    """JSON lines hold what the same rows hold as CSV, blanks, types and line ends aside."""
    folder = tmp_path_factory.mktemp("twin")
    path = folder / "x.jsonl"
    path.write_text(end.join(json.dumps(row) for row in table), newline="")

    def text(value: object) -> str:
        return str(int(value)) if isinstance(value, float) else str(value)

    frame = pd.DataFrame({key: [text(row[key]) for row in table] for key in ("user_id", "item_id")})
    frame["rating"] = np.array([row.get("rating", "") for row in table], object)
    frame.to_csv(folder / "x.csv", index=False)
    for limit in (None, 3) if all("rating" in row for row in table) else (None,):
        try:
            wanted = load_path(
                folder / "x.csv", min_rating=limit, columns={"user": "user_id", "item": "item_id"}
            )
        except InputError as error:
            assert "x.jsonl" in refusal(path, min_rating=limit)
            assert "no rating of at least" in str(error)
            continue
        found = load_path(path, min_rating=limit)
        assert pairs(found) == pairs(wanted)
        assert found.interactions.duplicates == wanted.interactions.duplicates
        assert found.interactions.user_ids.dtype == wanted.interactions.user_ids.dtype


def test_objects_in_objects_name_the_key(write):
    line = '{"user": {"id": 1}, "item": {"id": 2}}\n'
    assert "line 1, key user: user is '{\"id\": 1}'" in refusal(write("x.jsonl", line * 2))


@pytest.mark.parametrize("pad", [0, 9000])
def test_keys_that_come_late_are_not_dropped_in_silence(write, pad):
    """pad: bytes of a text in each object, so that the late ones are in another block."""
    early = [{"user": n, "item": 1, "text": "x" * pad} for n in range(1200)]
    late = [{"user": 7, "item": 2, "timestamp": 5, "stars": 4, "more": 1}]
    path = write("x.jsonl", lines(*early, *late))
    data = load_path(path)
    assert data.interactions.nnz == 1201
    what = "line 1201 is the first with the key 'timestamp', which the first 1,000 lack"
    assert f"{path}: {what}: no timestamp is used" in data.interactions.notes
    assert "columns not used: text, more, stars, timestamp" in data.interactions.notes
    assert "put an object with a rating first" in refusal(path, min_rating=3)
    notes = load_path(path, columns={"timestamp": "none"}).interactions.notes
    assert not any("timestamp is used" in note for note in notes)


def test_a_comma_at_the_end_of_a_line(write):
    message = refusal(write("x.jsonl", '{"user":1,"item":2},\n{"user":1,"item":3}\n'))
    assert "leave out the comma at the end of each line" in message
    message = refusal(write("x.jsonl", '{"user":1,\n"item":2}\n'))
    assert "jq -c . puts an object that spans lines on one" in message
