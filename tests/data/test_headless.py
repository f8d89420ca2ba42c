"""Tables of numbers without a header: read where their meaning is plain."""

import pytest

from recsys.data.read import load_path
from tests.data.conftest import pairs, refusal

WANTED = [(1, 10), (1, 12), (2, 10)]


@pytest.mark.parametrize(
    "text",
    [
        "1 10\n1 12\n2 10\n",
        "1  10 \n 1 12\n\n2 10",
        "1\t10\n1\t12\n2\t10\n",
        "1,10\n1,12\n2,10\n",
        "1;10\r\n1;12\r\n2;10\r\n",
        "1,10,5\n1,12,4.5\n2,10,1\n",
        "1 10 5\n1 12 4\n2 10 1\n",
        "1,10,5,1000000000\n1,12,4,1000000001\n2,10,1,1000000000\n",
        "1 10 12\n2 10\n",
        "1 10 12\n2 10\n3\n",
        "1,10 12\n2,10\n",
        '1,"10 12"\n2,10\n',
    ],
)
def test_plain_numbers(write, text):
    data = load_path(write("data.txt", text))
    assert pairs(data) == WANTED
    assert data.interactions.user_ids.dtype == int


def test_lines_of_users_have_no_order_of_time(write):
    data = load_path(write("train.txt", "0 5 90 7\n1 5 3\n2\n"))
    assert data.interactions.n_users == 3
    assert not data.interactions.ordered


def test_a_folder_of_lines(write, tmp_path):
    write("d/train.txt", "0 5 90 7\n1 5 3\n2 3\n")
    write("d/test.txt", "0 3\n1 90\n2 \n")
    data = load_path(tmp_path / "d")
    assert data.interactions.csr.nnz == 6
    assert data.ready_test.degrees().tolist() == [1, 1, 0]


@pytest.mark.parametrize("text", ["1 2 300\n1 4 500\n", "1 2 3\n2 4 5\n", "1,2,3,4\n", "1,2,300\n"])
def test_numbers_in_doubt(write, text):
    assert "numbers without a header" in refusal(write("data.txt", text))


def test_ratings_without_a_header_can_be_cut(write):
    assert pairs(load_path(write("x.csv", "1,10,5\n1,12,4\n2,10,1\n"), min_rating=4)) == WANTED[:2]


def test_another_width_later_is_an_error(write):
    rows = "1 10\n" * 300
    assert "line 301" in refusal(write("x.csv", "1,10\n" * 300 + "1,2,3\n"))
    assert load_path(write("y.txt", rows)).interactions.nnz == 1
