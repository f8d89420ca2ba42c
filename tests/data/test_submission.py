import csv

import numpy as np
import pytest

from recsys.errors import InputError
from recsys.interactions import CSR, Interactions
from recsys.submission import SubmissionError, check_submission, write_submission


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
    assert rows[1:] == [["a,b", '0 i"2'], ['q"q', "ü 0"], [" x ", 'i,1 i"2']]
    check_submission(path, data, 2)


@pytest.mark.parametrize("bad", ["red shoes", "a\tb", "a\u00a0b", "line\nbreak", " x", ""])
def test_item_ids_with_blanks_are_refused_by_name(tmp_path, bad):
    data = interactions(["u"], ["ok", bad])
    with pytest.raises(InputError) as caught:
        write_submission(tmp_path / "s.csv", data, np.array([[1]]))
    assert repr(bad) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_user_ids_with_line_breaks_are_refused(tmp_path):
    with pytest.raises(InputError, match="no line breaks"):
        write_submission(tmp_path / "s.csv", interactions(["a\nb"], ["1", "2"]), np.array([[1]]))


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
