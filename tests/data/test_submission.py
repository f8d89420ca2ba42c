import csv
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.ids import BLANKS
from recsys.data.lists import ListError, check_separator, read_list, write_list
from recsys.data.read import load_path
from recsys.errors import ConfigError, InputError
from recsys.interactions import CSR, Interactions
from recsys.receivers import receivers_of
from recsys.submission import (
    SubmissionError,
    check_submission,
    rewrite_submission,
    submit,
    write_submission,
)
from tests.data.conftest import pairs, refusal

MISSING = {"nan", "-nan", "na", "n/a", "null", "none", "nat", "<na>", "\\n", "#n/a"}


def interactions(user_ids: list, item_ids: list) -> Interactions:
    """User n has seen item n."""
    count = len(user_ids)
    csr = CSR.from_pairs(np.arange(count), np.arange(count), count, len(item_ids))

    def ids(values: list) -> np.ndarray:
        whole = all(isinstance(v, int) for v in values)
        return np.array(values, np.int64 if whole else object)

    return Interactions(csr, np.zeros(count, np.int32), ids(user_ids), ids(item_ids), False)


TOP = np.array([[2, 1], [0, 2]])


def test_the_reports_format_comes_out(tmp_path):
    data = interactions([7, 9], [10, 20, 30])
    path = tmp_path / "submission.csv"
    write_submission(path, data, TOP)
    assert path.read_bytes() == b"UserId,ItemId\n7,30 20\n9,10 30\n"
    check_submission(path, data, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["submission.csv"]


def test_ids_with_commas_and_quotes_are_quoted(tmp_path):
    data = interactions(["a,b", 'q"q', " x "], ["i,1", 'i"2', "ü", "0"])
    path = tmp_path / "s.csv"
    write_submission(path, data, np.array([[3, 1], [2, 3], [0, 1]]))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[1:] == [["a,b", '0 "i""2"'], ['q"q', "ü 0"], [" x ", '"i,1" "i""2"']]
    check_submission(path, data, 2)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("red shoes", '"""red shoes"""'),
        ("a\tb", '"""a\tb"""'),
        ("a\u00a0b", '"""a\u00a0b"""'),
        ("line\nbreak", '"""line\nbreak"""'),
        ("a\u2028b", '"""a\u2028b"""'),
        (" x", '""" x"""'),
        ("", '""""""'),
        ('"', '""""""""""'),
    ],
)
def test_item_ids_that_a_blank_cannot_separate_are_quoted(tmp_path, name, written):
    data = interactions(["u"], ["ok", name])
    path = tmp_path / "s.csv"
    write_submission(path, data, np.array([[1]]))
    assert path.read_bytes().decode() == f"UserId,ItemId\nu,{written}\n"
    check_submission(path, data, 1)


def test_another_separator_leaves_blanks_unquoted_only_where_it_may(tmp_path):
    data = interactions(["u"], ["ok", "a|b", "plain", "red shoes"])
    path = tmp_path / "s.csv"
    write_submission(path, data, np.array([[2, 1, 3]]), separator="|")
    assert path.read_text() == 'UserId,ItemId\nu,"plain|""a|b""|red shoes"\n'
    check_submission(path, data, 3, separator="|")
    with pytest.raises(SubmissionError, match="row 2: "):
        check_submission(path, data, 3)


anything = st.text(st.characters(codec="utf-8"), max_size=5)
odd = st.text(st.sampled_from(' \t\r\n",|;\u00a0\u2028a1'), max_size=4)
names = st.lists(st.one_of(anything, odd), min_size=2, max_size=6, unique=True)


@settings(max_examples=300, deadline=None, database=None)
@given(names, names, st.sampled_from([" ", "|", ";", ",", "\t"]), st.randoms())
def test_any_ids_come_back(tmp_path_factory, users, items, separator, random):
    users, items = users[: len(items)], items[: max(2, len(items))]
    data = interactions(users, items)
    path = tmp_path_factory.mktemp("s") / "s.csv"
    rows = []
    for user in range(len(users)):
        unseen = [n for n in range(len(items)) if n != user]
        random.shuffle(unseen)
        rows.append(unseen)
    write_submission(path, data, np.array(rows), separator=separator)
    check_submission(path, data, len(items), separator=separator)
    other = path.with_name("other.csv")
    for after in ("|", " ", ","):
        rewrite_submission(path, other, separator, after)
        check_submission(other, data, len(items), separator=after)
    with path.open(newline="", encoding="utf-8") as file:  # what others read
        found = list(csv.reader(file, strict=True))
    assert [row[0] for row in found[1:]] == users
    for row, wanted in zip(found[1:], rows, strict=True):
        assert read_list(row[1], separator) == [items[n] for n in wanted]


@settings(max_examples=300, deadline=None, database=None)
@given(st.text(st.sampled_from('" ab'), max_size=12))
def test_a_cell_is_a_list_or_a_list_error(cell):
    """What is read from any cell is written as that cell, but for quotes nobody needs."""
    try:
        found = read_list(cell)
    except ListError:
        return
    assert read_list(write_list(found)) == found


def test_only_a_submission_is_written_anew(tmp_path):
    path, target = tmp_path / "s.csv", tmp_path / "t.csv"
    for text, words in (
        ("user,item\n1,2\n", "row 1: expected the header"),
        ("UserId,ItemId\n1,2,3\n", "row 2: "),
        ('UserId,ItemId\n1,2\n2,"""a"\n', "row 3: a quote is not closed"),
    ):
        path.write_text(text)
        with pytest.raises(SubmissionError, match=words):
            rewrite_submission(path, target, " ", "|")
        assert not target.exists()


@pytest.mark.parametrize("text", ["", "ab", '"', "a", "7", "\n", "\u00a0", "\\n", "\0"])
def test_what_cannot_separate(text):
    with pytest.raises(ConfigError, match="expected one printable character"):
        check_separator(text)


def test_cells_of_any_length(tmp_path):
    items = [f"{n:032d}" for n in range(6000)]
    data = interactions(["u"], items)
    path = tmp_path / "s.csv"
    before = csv.field_size_limit(131_072)  # another test may have raised it
    try:
        write_submission(path, data, np.arange(1, 6000)[None, :])
        check_submission(path, data, 6000)
        assert csv.field_size_limit() == 131_072  # the limit of the process is not touched
    finally:
        csv.field_size_limit(before)


def test_receivers_keep_their_order_and_strangers_get_what_is_popular(tmp_path):
    csr = CSR.from_pairs(np.array([0, 1, 1, 2]), np.array([1, 1, 2, 1]), 3, 4)
    ids = np.array([10, 20, 30, 40])
    data = Interactions(csr, np.zeros(4, np.int32), np.array([5, 7, 9]), ids, False)
    who = receivers_of(["9", "99", "5", "9"], data.user_ids)
    assert (who.names, who.codes.tolist()) == (["9", "99", "5"], [2, -1, 0])
    asked = []

    def best_of(users: np.ndarray) -> np.ndarray:
        asked.extend(users.tolist())
        return np.array([[3, 0, 2], [0, 2, 3]])

    path = tmp_path / "s.csv"
    assert submit(path, data, csr, 3, best_of, receivers=who) == 3
    assert asked == [2, 0]
    assert path.read_text() == "UserId,ItemId\n9,40 10 30\n99,20 30 10\n5,10 30 40\n"
    with pytest.raises(SubmissionError, match="has 3 rows: expected one for each of 2 users"):
        check_submission(path, data, 3, receivers=receivers_of(["9", "5"], data.user_ids))
    # strangers where there are fewer items than places
    rows = who.with_strangers(np.full((2, 6), -1), csr, 6)
    assert rows[1].tolist() == [1, 2, 0, 3, -1, -1]


def test_fewer_unseen_items_than_k(tmp_path):
    data = interactions([1, 2], [10, 20, 30])
    path = tmp_path / "s.csv"
    write_submission(path, data, np.array([[2, 1, -1], [0, 2, -1]]))
    assert path.read_text() == "UserId,ItemId\n1,30 20\n2,10 30\n"
    check_submission(path, data, 3)


def test_a_user_who_has_seen_everything(tmp_path):
    data = interactions([1], [10])
    write_submission(tmp_path / "s.csv", data, np.array([[-1]]))
    assert (tmp_path / "s.csv").read_text() == "UserId,ItemId\n1,\n"
    check_submission(tmp_path / "s.csv", data, 50)


def test_seen_can_be_more_than_the_interactions(tmp_path):
    data = interactions([1, 2], [10, 20, 30])
    path = tmp_path / "s.csv"
    test = CSR.from_pairs(np.array([0]), np.array([1]), 2, 3)
    write_submission(path, data, np.array([[2, -1], [0, 2]]))
    check_submission(path, data, 2, seen=data.csr.union(test))
    with pytest.raises(SubmissionError, match="row 2: has 1 items: expected 2"):
        check_submission(path, data, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "row 1: expected the header UserId,ItemId"),
        ("user,item\n7,30 20\n9,10 30\n", "row 1: expected the header"),
        ("UserId,ItemId\n7,30 20\n", "has 1 rows: expected one for each of 2 users"),
        ("UserId,ItemId\n9,10 30\n7,30 20\n", "row 2: expected user '7'"),
        ("UserId,ItemId\n7,30 20\n9\n", "row 3: expected user '9'"),
        ("UserId,ItemId\n7,30 20\n9,10 31\n", "row 3: item '31' is not in the data"),
        ("UserId,ItemId\n7,30 30\n9,10 30\n", "row 2: an item comes twice"),
        ("UserId,ItemId\n7,30\n9,10 30\n", "row 2: has 1 items: expected 2"),
        ("UserId,ItemId\n7,30 20\n9,10 20\n", "row 3: item '20' was seen"),
        ("UserId,ItemId\n7,30  20\n9,10 30\n", "row 2: item '' is not in the data"),
        ('UserId,ItemId\n7,"30 20\n', "cannot be read back"),
    ],
)
def test_the_check_finds_what_is_wrong(tmp_path, text, words):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(SubmissionError, match=words):
        check_submission(path, interactions([7, 9], [10, 20, 30]), 2)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "s.csv"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_submission(path, interactions([7, 9], [10, 20, 30]), TOP)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write_submission(tmp_path / "no" / "s.csv", interactions([7, 9], [10, 20, 30]), TOP)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_submission(tmp_path / "folder", interactions([7, 9], [10, 20, 30]), TOP)


def _is_an_id(name: str) -> bool:
    """Whether `name` can be an id of a text file: not missing, no blanks around."""
    return (
        name == name.strip(BLANKS) != ""
        and name.lower() not in MISSING
        and not re.fullmatch(r"-?\d(\.\d+)?e\+\d+", name, re.IGNORECASE)
        and name.casefold() not in ("user", "item")
    )


odd = st.text(alphabet=" \t\n\r\u00a0\u2028,;|'\"[](){}ab1.\\#-:ü", min_size=1, max_size=4)
names = st.one_of(
    odd, st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)
)
names = names.filter(_is_an_id)


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.lists(names.filter(lambda n: not {"\n", "\r"} & set(n)), unique=True, max_size=4),
    st.lists(names, unique=True, max_size=5),
    st.data(),
)
def test_what_is_written_can_be_loaded(tmp_path_factory, users, items, data):
    """Any ids that a file may hold come back from a submission, in the same lists."""
    users, items = ["u", *(n for n in users if n != "u")], ["i", *(n for n in items if n != "i")]
    users = users[: len(items)]  # as `interactions` wants it
    lists = [data.draw(st.permutations(range(len(items)))) for _ in users]
    lists = [row[: data.draw(st.integers(1, len(items)))] for row in lists]
    lists[0] = [0, *(i for i in lists[0] if i)]  # a word, so that ids are no numbers
    wanted = {user: [items[i] for i in row] for user, row in zip(users, lists, strict=True)}
    width = max(map(len, lists))
    top = np.array([[*row, *[-1] * (width - len(row))] for row in lists])
    separators = [" "]
    if any(" " in name for row in wanted.values() for name in row):
        separators.append("|")
    for separator in separators:
        path = tmp_path_factory.mktemp("s") / "s.csv"
        write_submission(path, interactions(users, items), top, separator=separator)
        try:
            found = load_path(path)
        except InputError:
            assert separator != " "  # another one is known only by quotes beside it
            continue
        lists_read: dict[str, list[str]] = {}
        for user, item in pairs(found):
            lists_read.setdefault(user, []).append(item)
        assert lists_read == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('"0","""red shoes"" 5"\n', [(0, "red shoes"), (0, "5")]),
        ('"0","""red shoes""|5"\n1,5\n', [(0, "red shoes"), (0, "5"), (1, "5")]),
        (
            '"0","5|""a|b""|red shoes"\n1,a b\n',
            [(0, "5"), (0, "a|b"), (0, "red shoes"), (1, "a b")],
        ),
        ('0,"7 ""a\nb"""\n', [(0, "7"), (0, "a\nb")]),
        ('0,"""a"" ""|"""\n', [(0, "a"), (0, "|")]),
    ],
)
def test_lists_of_a_submission_are_read(tmp_path, text, wanted):
    path = tmp_path / "s.csv"
    path.write_text("UserId,ItemId\n" + text, newline="")
    assert pairs(load_path(path)) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('0,"""a"" | ""b"""\n', "marks other than blanks"),
        ('0,"""a"" b""c"\n', "quotes that are not around whole items"),
        ('0,"7 8\n9"\n', "line break"),
        ('0,"7 ""a"" 8\n9"\n', "line break"),
    ],
)
def test_lists_in_doubt_are_refused(tmp_path, text, message):
    path = tmp_path / "s.csv"
    path.write_text("UserId,ItemId\n" + text, newline="")
    assert message in refusal(path)
