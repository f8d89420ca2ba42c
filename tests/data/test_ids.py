"""What counts as an id, and when two of them are one."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recsys.data.ids import IdColumn, canonical_integers, spelled_as
from recsys.data.read import load_path
from tests.data.conftest import pairs, refusal

# (users of train, users of test, users of both as they are kept)
SPELLED = [
    (["5", "6"], ["5.0", "6.0"], [5, 6]),
    (["5.0", "6.0"], ["5", "6"], [5, 6]),
    (["5.", "6.00"], ["5", "6"], [5, 6]),
    (["0005", "0106"], ["5", "106"], ["0005", "0106"]),
    (["5", "106"], ["0005", "0106"], [5, 106]),
    (["5", "106"], ["5.0", "106.0"], [5, 106]),
    (["u5", "u6"], ["u5 ", "\u00a0u6"], ["u5", "u6"]),
    (["5", "6"], ["\ufeff5", " 6"], [5, 6]),
]


def ready(write, train: list[str], test: list[str]):
    write("d/train.csv", "user,item\n" + "".join(f"{u},{n}\n" for n, u in enumerate(train)))
    path = write(
        "d/test.csv", "user,item\n" + "".join(f"{u},{n + 9}\n" for n, u in enumerate(test))
    )
    return load_path(path.parent)


@pytest.mark.parametrize(("train", "test", "kept"), SPELLED)
def test_the_same_ids_in_another_spelling(write, train, test, kept):
    data = ready(write, train, test)
    assert data.interactions.user_ids.tolist() == kept
    assert data.ready_test.degrees().tolist() == [1, 1]
    assert not any("users of test" in note for note in data.interactions.notes)


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (["u5", "u6"], ["U5", "U6"], "none of the 2 users of test is in train"),
        (["a", "b", "c"], ["a", "x", "y"], "only 1 of the 3 users of test is in train"),
        (["5", "6", "x"], ["005", "06"], "none of the 2 users of test is in train"),
    ],
)
def test_parts_about_other_users_say_so(write, train, test, words):
    assert any(words in note for note in ready(write, train, test).interactions.notes)


@pytest.mark.parametrize("marker", ["nan", "NaN", "null", "None", "NaT", "\\N", "<NA>", "N/A", ""])
@pytest.mark.parametrize("column", ["user", "item"])
def test_markers_of_a_missing_value_are_refused(write, marker, column):
    good, bad = ("u1,i1\n", f"{marker},i2\n" if column == "user" else f"u2,{marker}\n")
    message = refusal(
        write(
            "x.csv",
            f"user,item,rating\n{good}{bad}".replace("\n", ",1\n", 9).replace("rating,1", "rating"),
        )
    )
    assert f"line 3, column {column}: {column}" in message


def test_a_marker_that_can_be_a_name_is_pointed_out(write):
    data = load_path(
        write("x.csv", "user,country\nu1,NA\nu2,NA\nu3,DE\nu4,FR\n"), columns={"item": "country"}
    )
    assert any(
        "'NA' counts as a item like any other, with 50.0% of the rows" in note
        or "'NA' counts as an item like any other, with 50.0%" in note
        for note in data.interactions.notes
    )


def test_rounded_numbers_are_no_ids(write):
    assert "digits of the id are lost" in refusal(write("x.csv", "user,item\n9.78E+12,1\nx,2\n"))


@pytest.mark.parametrize(
    "text",
    [
        "user_id,item_id\n1,2 3\n2,2\nuser_id,item_id\n3,4\n",
        "user,item,rating\n1,2,3\nuser,item,rating\n3,4,5\n",
        "user,item,rating\nuser,item,rating\n3,4,5\n",
        "user_id,item_id,x\na,b,1\nUserID,Item ID,y\nc,d,2\n",
        "user,item\na,b\n\ufeffuser,item\nc,d\n",
    ],
)
def test_a_header_among_the_rows(write, text):
    line = next(n for n, row in enumerate(text.split("\n")[1:], 2) if "ser" in row)
    assert f"line {line} repeats the header" in refusal(write("x.csv", text))


def test_ids_that_differ_only_in_how_a_number_is_written(write):
    data = load_path(write("x.csv", "user,item\n007,1\n7,2\nx,3\n"))
    assert pairs(data) == [("007", 1), ("7", 2), ("x", 3)]
    assert any("'007' and '7'" in note for note in data.interactions.notes)


@pytest.mark.parametrize(("one", "other"), [("+5", "5"), ("-0", "0")])
def test_a_sign_that_says_nothing_is_worth_a_line(write, one, other):
    data = load_path(write("x.csv", f"user,item\n{one},1\n{other},2\n7,3\n"))
    assert len(data.interactions.user_ids) == 3
    (note,) = [n for n in data.interactions.notes if "differ from others only" in n]
    assert f"{one!r} and {other!r}" in note


def test_whole_floats_are_integers(write):
    data = load_path(write("x.csv", "user,item\n1.0,7.0\n2.0,8.0\n"))
    assert pairs(data) == [(1, 7), (2, 8)]
    assert data.interactions.user_ids.dtype == np.int64
    assert any("user ids such as '1.0' are read as 1" in note for note in data.interactions.notes)


def read_users_of(write, ids: list[str], rows: int = 1):
    """Data whose users are `ids`, each with `rows` items."""
    lines = [f'"{user}",{item}\n' for user in ids for item in range(rows)]
    return load_path(write("x.csv", "user,item\n" + "".join(lines)))


NUMBERS = [str(n) for n in range(100, 120)]


@pytest.mark.parametrize(
    "marker", ["(null)", "<NULL>", "[NULL]", "#NAME?", "#REF!", "#DIV/0!", "#WERT!", "#NV"]
)
def test_what_programs_write_for_nothing_is_no_id(write, marker):
    message = refusal(write("x.csv", f"user,item,x\nu1,1,1\n{marker},2,1\n"))
    assert "line 3, column user" in message
    assert repr(marker) in message
    assert ("an error of Excel" if marker[0] == "#" else "a missing value") in message


@pytest.mark.parametrize("marker", ["-", "?", ".", "unknown", "undefined", "nil", "inf", "NA"])
def test_a_word_for_nothing_is_refused_among_numbers_and_noted_among_words(write, marker):
    text = "user,item\n1,1\n" + f"{marker},2\n"
    assert "is a missing value" in refusal(write("x.csv", text))
    data = read_users_of(write, ["ann", "bob", marker])
    assert data.interactions.notes == (
        f"'{marker}' counts as a user like any other, with 33.3% of the rows: leave these out of "
        "the file if it means a missing value",
    )


@pytest.mark.parametrize(
    ("ids", "first"),
    [
        (['=""0001""', '=""0002""'], "'=\"0001\"'"),
        (['=""0001""', "0002"], "'=\"0001\"'"),
        (["b'u1'", "u2"], "\"b'u1'\""),
        (["'u1'", "'u2'"], "\"'u1'\""),
        (["'0001", "'0002"], '"\'0001"'),
        (['""u1""', '""u2""'], "'\"u1\"'"),
        (["“u1”", "“u2”"], "'“u1”'"),
    ],
)
def test_quotes_that_a_program_left_are_no_part_of_an_id(write, ids, first):
    lines = "".join(f'"{user}",1\n' for user in ids)
    message = refusal(write("x.csv", "user,item\n" + lines))
    assert f"user {first} has quotes or a formula around it" in message


def test_quotes_in_some_ids_are_letters(write):
    data = read_users_of(write, ["'tis", "rock 'n' roll", "'quoted'"])
    assert data.interactions.user_ids.tolist() == ["'quoted'", "'tis", "rock 'n' roll"]


def test_a_number_rounded_with_a_comma(write):
    text = "user;item\n1,21E+12;1\n2;2\n"
    assert "'1,21E+12' is a rounded number" in refusal(write("x.csv", text))


def test_a_word_among_many_numbers_is_pointed_out(write):
    data = read_users_of(write, [*NUMBERS, "Total"])
    assert data.interactions.notes == (
        "all user ids are numbers except 'Total', with 4.8% of the rows: leave these out of the "
        "file if they are not users",
    )
    assert read_users_of(write, [*NUMBERS[:9], "Ann"]).interactions.notes == ()
    assert read_users_of(write, [*NUMBERS, "a1", "a2", "a3", "a4"]).interactions.notes == ()
    assert read_users_of(write, [f"0{name}" for name in NUMBERS]).interactions.notes == ()


def test_minus_one_below_ids_that_are_not_negative(write):
    (note,) = read_users_of(write, ["-1", "0", "5"]).interactions.notes
    assert note.startswith("'-1' counts as a user like any other, with 33.3% of the rows")
    assert read_users_of(write, ["-2", "-1", "5"]).interactions.notes == ()
    assert read_users_of(write, ["-1"]).interactions.notes == ()


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("Ann", "ann", "'Ann' and 'ann'"),
        ("Jos\u00e9", "Jose\u0301", "(Jose\\u0301)"),
        ("x\u200dy", "xy", "'xy' and 'x\\u200dy'"),
        ("Acme.", "Acme", "'Acme' and 'Acme.'"),
        ("red  shoes", "red shoes", "'red  shoes' and 'red shoes'"),
        ("1,234", "1234", "'1,234' and '1234'"),
        ("\uff21b", "AB", "(\\uff21b)"),
    ],
)
def test_ids_that_a_person_would_take_for_the_same(write, one, other, said):
    data = read_users_of(write, [one, other, "x"])
    assert len(data.interactions.user_ids) == 3
    (note,) = data.interactions.notes
    assert note.startswith("1 user ids differ from others only in how they are written")
    assert said in note


def test_ids_that_only_resemble_each_other(write):
    ids = ["1.2", "12", "1,23", "123x", "a-b", "ab", "...", ".", "..x"]
    notes = read_users_of(write, ids).interactions.notes
    assert not any("only in how they are written" in note for note in notes)


def test_whom_a_submission_is_for_has_no_missing_values(write):
    write("d/train.csv", "user,item\nu1,1\nu2,2\n")
    path = write("d/test.csv", "user\nu1\nnan\n")
    message = refusal(path.parent)
    assert "has the user 'nan', a missing value: expected user ids" in message


def test_a_batch_without_rows_leaves_integers_integers():
    none = canonical_integers(pa.array([], pa.string()))
    assert none is not None
    assert none.tolist() == []
    column = IdColumn("item")
    column.begin()
    for batch in (["8"], [], ["36"]):
        column.add(pa.array(batch, pa.string()))
    assert all(isinstance(chunk, np.ndarray) for chunk in column._parts[0])  # the quick path
    assert column.finish()[1].tolist() == [8, 36]


@pytest.mark.parametrize(
    ("kind", "first", "good"),
    [(np.float32, 2**24 - 4, 2**24), (np.float64, 2**53 - 4, 2**53), (np.float16, 2000, 2**11)],
)
def test_floats_that_could_be_the_rounding_of_others_are_no_ids(tmp_path, kind, first, good):
    def file_of(values):
        frame = pd.DataFrame({"user": np.array(values, kind), "item": range(len(values))})
        frame.to_parquet(tmp_path / "x.parquet")
        return tmp_path / "x.parquet"

    data = load_path(file_of(range(first, good + 1))).interactions
    assert data.user_ids.tolist() == list(range(first, good + 1))
    message = refusal(file_of(range(first, good + 9)))
    assert "column user: user is" in message
    assert "larger ones get rounded: expected integers or text" in message


def test_a_float_in_text_that_lost_digits_is_no_id(write):
    text = "user,item\n5.0,1\n900719925474109568.0,2\n"
    message = refusal(write("x.csv", text))
    assert "line 3, column user: user '900719925474109568.0' is a float above 2^53" in message
    assert "is a float above 2^53" in refusal(write("x.csv", text.replace("5.0", "u5")))
    data = load_path(write("x.csv", "user,item\n5.0,1\n9007199254740992.0,2\n"))
    assert data.interactions.user_ids.tolist() == [5, 2**53]


def test_doubles_of_java_are_numbers_in_full(write):
    ids = ["9999999.0", "1.0E7", "1.2345678E7", "9.007199254740992E15", "-1.0E7"]
    data = read_users_of(write, ids).interactions
    assert data.user_ids.tolist() == [-(10**7), 9999999, 10**7, 12345678, 2**53]
    assert "user ids such as '1.0E7' are read as 10000000" in data.notes
    assert spelled_as(["1.2345678E7", "1.0"], data.user_ids) == ["12345678", "1"]
    for lost in ("1.23456789E7", "9.1E15", "1.5E0"):
        message = refusal(write("x.csv", f"user,item\n1.0E7,1\n{lost},2\n"))
        assert f"line 3, column user: user '{lost}' is a number in E notation without" in message


def test_what_looks_like_a_double_among_names_is_one_and_is_noted(write):
    data = read_users_of(write, ["1.0E7", "ann", "bob"]).interactions
    assert data.user_ids.tolist() == ["1.0E7", "ann", "bob"]
    (note,) = data.notes
    assert "'1.0E7'" in note
    assert "E notation" in note
    assert read_users_of(write, ["7E7", "1E5", "2E3"]).interactions.notes == ()


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["5,0", "36,0"], "ids such as '36,0' may be whole numbers with a decimal comma"),
        (["5,00", "36"], "ids such as '5,00' may be whole numbers with a decimal comma"),
        (["1.008", "981", "12.345.678"], "'1.008' may be numbers with a mark between thousands"),
        (["1,008", "981"], "'1,008' may be numbers with a mark between thousands"),
        (["'000101", "000101"], "\"'000101\" and '000101'"),
        (["5,0", "5", "x"], "'5' and '5,0'"),
    ],
)
def test_numbers_in_a_spelling_that_is_not_read_are_noted(write, ids, said):
    data = read_users_of(write, ids).interactions
    assert data.user_ids.tolist() == sorted(ids)
    assert any(said in note for note in data.notes), data.notes


def test_what_only_resembles_such_numbers_is_not_noted(write):
    for ids in (["1.2.3", "1.2.4"], ["1.08", "981"], ["5,0", "a,0"], ["1.008", "1234"]):
        assert read_users_of(write, ids).interactions.notes == ()


@pytest.mark.parametrize("marker", ["[object Object]", "#N/A N/A", "$null$", "$NULL$", "########"])
def test_what_nobody_is_called_is_no_id(write, marker):
    message = refusal(write("x.csv", f"user,item,x\nu1,1,1\n{marker},2,1\n"))
    assert f"line 3, column user: user '{marker}' is " in message


NIL = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    "marker",
    ["(not set)", "(blank)", "(none)", "N.A.", "[]", "{}", "\u2014", NIL, f"{{{NIL}}}", '""""'],
)
def test_placeholders_among_words_get_a_line(write, marker):
    (note,) = read_users_of(write, ["ann", "bob", marker]).interactions.notes
    assert "counts as a user like any other, with 33.3% of the rows" in note
    assert "if it means a missing value" in note


@pytest.mark.parametrize(
    "marker",
    ["(other)", "anonymous", "guest", "Total", "Grand Total", "Gesamtergebnis", "Summe"],
)
@pytest.mark.parametrize("others", [["ann", "bob"], ["7", "8"], NUMBERS])
def test_ids_that_stand_for_many_get_one_line(write, marker, others):
    (note,) = read_users_of(write, [*others, marker]).interactions.notes
    assert f"'{marker}'" in note
    assert "leave these out of the file if" in note


def test_an_item_may_be_called_guest(write):
    assert load_path(write("x.csv", "user,item\n1,Guest\n2,Film\n")).interactions.notes == ()


def test_sums_behind_others_get_a_line(write):
    ids = ["u1", "u1 Total", "u2", "u2 Total", "Colgate Total"]
    (note,) = read_users_of(write, ids).interactions.notes
    assert note.startswith("2 user ids such as 'u1 Total' are other ids with a word for a sum")


@pytest.mark.parametrize("others", [range(1, 8), ["a", "b"]])
def test_a_customer_zero_with_far_more_rows_than_others(write, others):
    def notes_of(role: str, rows: int) -> tuple[str, ...]:
        zero = "".join(f"0,{n}\n" for n in range(rows))
        lines = zero + "".join(f"{user},1\n{user},2\n" for user in others)
        other = "item" if role == "user" else "user"
        return load_path(write("x.csv", f"{role},{other}\n{lines}")).interactions.notes

    (note,) = notes_of("user", 20)
    assert note.startswith("user 0 counts as a user like any other, with ")
    assert not notes_of("user", 19)
    assert not notes_of("item", 20)
