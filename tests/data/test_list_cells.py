"""Lists of items in one cell, as people write them: read as what they plainly are, or refused."""

import numpy as np
import pandas as pd
import pytest

from recsys.data.cells import all_whole
from recsys.data.layout import NUMBER
from recsys.data.list_cells import items_of, syntax_of
from recsys.data.read import Dataset, load_path
from recsys.errors import InputError
from recsys.split import HoldOut, SplitPlan, make_split
from tests.data.conftest import pairs, refusal

WANTED = [(1, 8), (1, 36), (1, 54), (2, 9)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("[8, 36, 54]", "[9]"),
        ("[8,36,54]", "[9]"),
        ("(8, 36, 54)", "(9,)"),
        ("{8, 36, 54}", "{9}"),
        ("[ 8 36 54]", "[9]"),
        ("[ 8 36\n 54]", "[9]"),
        ("array([8, 36, 54])", "array([9], dtype=int32)"),
        ("['8', '36', '54']", "['9']"),
        ("[np.int64(8), np.int64(36), np.int64(54)]", "[np.int64(9)]"),
        ("[np.str_('8'), np.str_('36'), np.str_('54')]", "[np.str_('9')]"),
        ("['8' '36' '54']", "['9']"),
        ("[8.0, 36.0, 54.0]", "[9.0]"),
        ("8,36,54", "9"),
        ("8, 36, 54", "9"),
        ("8|36|54", "9"),
        ("8;36;54", "9"),
        (" 8 36  54 ", "9"),
        ("8 36 54", "9"),
        ('8 "36" 54', "9"),
    ],
)
@pytest.mark.parametrize("header", ["UserId,ItemId", "user_id,item_id"])
def test_numbers_in_any_list(write, header, first, second):
    rows = "".join(
        '{},"{}"\n'.format(u, c.replace('"', '""')) for u, c in ((1, first), (2, second))
    )
    data = load_path(write("x.csv", f"{header}\n{rows}3,\n"))
    assert pairs(data) == WANTED
    assert data.interactions.n_users == 3


@pytest.mark.parametrize("header", ["UserId,ItemId", "user,product", "user,product,note"])
def test_words_in_printed_lists(write, header):
    frame = pd.DataFrame(
        {"u": [1, 2], "i": [["red shoes", "it's", "a, b"], ["c"]], "n": ["x", "y"]}
    )
    path = write("x.csv", "")
    frame[["u", "i", "n"][: header.count(",") + 1]].to_csv(path, index=False)
    path.write_text(path.read_text().replace("u,i,n", header).replace("u,i", header))
    assert pairs(load_path(path)) == [(1, "red shoes"), (1, "it's"), (1, "a, b"), (2, "c")]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["[8, 36]", "9 10"], ["line 3", "not a list such as [8, 36, 54]"]),
        (["8 36", "[9]"], ["line 3", "looks like a list with marks other"]),
        (["8,36", "9 10"], ["line 3", "not a list of numbers separated by commas"]),
        (["8,36", "9|10"], ["line 2"]),
        (["8, 36 54", "9"], ["line 2"]),
        (["a,b", "c"], ["line 2", "looks like a list with marks other"]),
        (["a|b", "c"], ["line 2", "looks like a list with marks other"]),
        (["red shoes|hat", "c"], ["line 2", "looks like a list with marks other"]),
        (["c", "i|0 0|j"], ["line 3", "looks like a list with marks other"]),
        (["[[1, 2], [3]]", "[4]"], ["line 2", "not a list such as"]),
        (["[0 1 ... 8 9]", "[4]"], ["line 2", "numpy has shortened"]),
        (["[8, nan]", "[4]"], ["line 2", "missing value"]),
        (["[8, 36", "[4]"], ["line 2", "not a list such as"]),
        (["{8: 1, 36: 2}", "{4: 1}"], ["line 2", "is a dict"]),
        (["[8, 36]", "{4: 1}"], ["line 3", "is a dict"]),
        (["{8:1,36:2}", "{4:1}"], ["line 2", "is a dict"]),
    ],
)
def test_lists_in_doubt_are_refused(write, cells, words):
    rows = "".join(f'{n},"{cell}"\n' for n, cell in enumerate(cells))
    message = refusal(write("x.csv", f"UserId,ItemId\n{rows}"))
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("first", ["{8, 36}", "{9}", "set()", "frozenset({8, 36})", "set([8, 36])"])
def test_a_set_has_no_order(write, tmp_path, first):
    data = load_path(write("x.csv", f'UserId,ItemId\n1,"{first}"\n2,"{{54, 9}}"\n')).interactions
    assert not data.ordered
    assert any("items stand in sets" in note for note in data.notes)
    with pytest.raises(InputError, match=r"order latest .* sets .*, which have no order; use"):
        make_split(Dataset(data), SplitPlan(order="latest"), seed=1)


def test_an_array_of_postgresql_has_its_order(write):
    found = load_path(write("x.csv", 'UserId,ItemId\n1,"{8,36,54}"\n2,"{9}"\n'))
    assert pairs(found) == WANTED
    assert found.interactions.ordered


def test_items_with_a_value_behind_each_are_pointed_out(write):
    data = load_path(write("x.csv", "UserId,ItemId\n1,8:5 36:3\n2,9:1.5\n")).interactions
    assert any("all item ids are like '36:3' and are used as they are" in n for n in data.notes)
    data = load_path(write("x.csv", "UserId,ItemId\n1,8:5 36:3\n2,isbn:9\n")).interactions
    assert not data.notes


def test_words_with_blanks_are_in_doubt_unless_the_header_says_lists(write):
    rows = "1,red shoes\n2,green hat\n"
    assert "--columns user=user_id,item=item_id" in refusal(
        write("x.csv", f"user_id,item_id\n{rows}")
    )
    assert "--columns user=user_id,item=item_id" in refusal(
        write("x.csv", f"user_id,item_id\n{rows}1,blue sock\n")
    )
    named = load_path(
        write("x.csv", f"user_id,item_id\n{rows}"), columns={"user": "user_id", "item": "item_id"}
    )
    assert pairs(named) == [(1, "red shoes"), (2, "green hat")]
    listed = load_path(write("x.csv", f"UserId,ItemId\n{rows}"))
    assert pairs(listed)[:2] == [(1, "red"), (1, "shoes")]


def test_what_python_prints_is_read_back():
    rng = np.random.default_rng(5)
    for _ in range(300):
        own = [int(n) for n in rng.integers(-5, 10**6, int(rng.integers(0, 30)))]
        for written in (own, tuple(own), np.array(own), set(own)):
            for cell in (str(written), repr(written)):
                if "..." not in cell:
                    found = items_of(cell, syntax_of(["[1]"]))
                    assert sorted(map(int, found)) == sorted(map(int, written)), cell


def test_lists_of_numbers_beside_other_columns_are_no_items(write):
    message = refusal(write("x.csv", "UserId,ItemId,Rating\n1,5 6 7,5\n2,8,4\n"))
    assert "column ItemId has lists of items beside other columns" in message
    named = load_path(write("x.csv", "u,i,x\n1,5 6,5\n"), columns={"user": "u", "item": "i"})
    assert named.interactions.item_ids.tolist() == ["5 6"]
    words = load_path(write("x.csv", "user,item,x\n1,7 8 hats,5\n2,7 8,5\n"))
    assert words.interactions.item_ids.tolist() == ["7 8", "7 8 hats"]


def test_times_and_ratings_beside_lists_are_said_to_be_unused(write):
    text = 'user,item,timestamp,rating\n1,"[5, 6]","[8, 9]",5\n2,"[6]","[1]",4\n'
    data = load_path(write("x.csv", text)).interactions
    for name in ("timestamp", "rating"):
        note = f"column {name} is not used: the order within the lists counts, oldest first"
        assert note in data.notes
    assert data.ordered


@pytest.mark.parametrize(
    "times", ["[9, 8]", "['2024-01-02', '2024-01-01']", "[10, 9]", "9 8", "(1.5, 0.5)"]
)
def test_lists_whose_times_fall_have_no_order(write, times):
    one = "1" if times == "9 8" else "[1]"
    path = write("x.csv", f'user,item,time\n2,"[6]","{one}"\n1,"[5, 6]","{times}"\n')
    data = load_path(path)
    assert pairs(data) == [(1, 5), (1, 6), (2, 6)]
    assert not data.interactions.ordered
    assert (
        "x.csv: column time has times that decrease within a list"
        in data.interactions.order_problem
    )
    assert data.interactions.order_problem in data.interactions.notes
    with pytest.raises(InputError, match="lists are read oldest first"):
        make_split(data, SplitPlan("latest", None, HoldOut("fixed", 1)), 0)
    assert load_path(path, columns={"timestamp": "none"}).interactions.ordered


@pytest.mark.parametrize(
    ("header", "later"), [("UserId,ItemId\n", 0), ("UserId,ItemId\n", 2), ("", 2)]
)
@pytest.mark.parametrize("end", ["", "\n"])
def test_one_user_may_have_more_than_a_look_at_the_file(write, header, end, later):
    """The sample that tells how a file is written holds whole rows, however long they are."""
    items = range(100_000, 140_000)
    if header.startswith("UserId"):
        rows = [f'0,"[{", ".join(map(str, items))}]"', '1,"[7, 8]"', '2,"[9]"']
    else:
        rows = ["0 " + " ".join(map(str, items)), "1 7 8", "2 9"]
    found = load_path(write("x.txt", header + "\n".join(rows[: 1 + later]) + end))
    assert found.interactions.csr.nnz == 40_000 + (3 if later else 0)


@pytest.mark.parametrize(
    ("text", "whole", "number"),
    [
        *((text, True, True) for text in ("5", "005", "-5.0", "5.")),
        *((text, False, True) for text in ("+5", "5.5", ".5", "5e3", "-1.5E-3")),
        *((text, False, False) for text in ("", "-", ".", "5 5", "5,0", "1e", "nan")),
    ],
)
def test_a_numeral_is_the_same_to_every_reader(text: str, whole: bool, number: bool) -> None:
    assert all_whole([text]) == whole
    assert (NUMBER.fullmatch(text) is not None) == number


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("[red hat, cap]", ["red hat", "cap"]),  # Spark's cast of an array to a string
        ("[red hat]", ["red hat"]),
        ("[it's, 5]", ["it's", "5"]),
        (r'["caf\u00e9", "a"]', ["café", "a"]),
        (r'["5\" nail", "b\/c"]', ['5" nail', "b/c"]),
        ('["a", 8]', ["a", "8"]),
        (r"""['it\'s "x"', 'b\\c', 'caf\xe9', '\d']""", ['it\'s "x"', "b\\c", "café", r"\d"]),
        ("['red (hat)', 'a] b']", ["red (hat)", "a] b"]),
        ("['wait... what', 'b']", ["wait... what", "b"]),
        ('"[8, 36]"', ["8", "36"]),  # JSON, encoded twice
        (r'"[\"a\", \"b c\"]"', ["a", "b c"]),
        ('{hat,"red shoe"}', ["hat", "red shoe"]),  # PostgreSQL
        (r"""{"5\" nail","a\\b",it's,"Title: x"}""", ['5" nail', "a\\b", "it's", "Title: x"]),
        ('{"red shoe","cap, blue"}', ["red shoe", "cap, blue"]),
        ("[8, None]", ["8", "None"]),
    ],
)
def test_items_of_a_printed_list(cell, items):
    assert items_of(cell, syntax_of([cell])) == items


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("[8, 36 54]", "is not a list such as"),
        ("[8,, 36]", "is not a list such as"),
        ("[8, 'a']", "is not a list such as"),
        ('["a", null]', "is not a list such as"),
        (r'"[\"\ud800\"]"', "is not a list such as"),
        ("[(1, 2), (3, 4)]", "is not a list such as"),
        ("[object Object]", "has what JavaScript prints for an object"),
        ("{'red hat': 1, 'cap': 2}", "is a dict"),
        ('{"a":1}', "is a dict"),
    ],
)
def test_what_is_no_plain_list_is_refused(cell, words):
    found = items_of(cell, syntax_of([cell]))
    assert isinstance(found, str)
    assert words in found


def test_an_array_of_postgresql_with_commas_in_its_items_has_its_order(write):
    text = 'user,items\n1,"{""cap, blue"",hat}"\n2,"{hat,""red shoe""}"\n'
    found = load_path(write("x.csv", text), columns={"item": "items"})
    assert pairs(found) == [(1, "cap, blue"), (1, "hat"), (2, "hat"), (2, "red shoe")]
    assert found.interactions.ordered


GUIDS = [f"{{6F9619FF-8B86-D011-B42D-00C04FC964F{n}}}" for n in range(3)]


@pytest.mark.parametrize("header", ["UserId,ItemId", "user_id,item_id", "user,product", "a,b,c"])
def test_a_guid_in_braces_keeps_them(write, header):
    more = ",x" if header == "a,b,c" else ""
    rows = "".join(f"{u},{GUIDS[i]}{more}\n" for u, i in ((1, 0), (1, 1), (2, 0), (2, 2)))
    columns = {"user": "a", "item": "b"} if more else None
    data = load_path(write("x.csv", f"{header}\n{rows}"), columns=columns)
    assert data.interactions.item_ids.tolist() == GUIDS
    bare = [guid[1:-1] for guid in GUIDS[:2]]
    array = f'user,item\n1,"{{{",".join(bare)}}}"\n'
    assert load_path(write("x.csv", array)).interactions.item_ids.tolist() == bare


def test_a_name_in_brackets_is_whole_where_the_columns_are_named(write):
    text = "user,item\n1,[REC]\n1,[Ab c]\n2,[REC]\n2,(blue)\n"
    data = load_path(write("x.csv", text), columns={"user": "user", "item": "item"})
    assert data.interactions.item_ids.tolist() == ["(blue)", "[Ab c]", "[REC]"]
    listed = load_path(
        write("x.csv", 'u,i\n1,"[8, 36, 54]"\n2,[9]\n'), columns={"user": "u", "item": "i"}
    )
    assert pairs(listed) == WANTED
