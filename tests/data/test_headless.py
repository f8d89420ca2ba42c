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


def test_lines_of_one_width_with_small_ids(write):
    data = load_path(write("train.txt", "0 5 2 7 1\n1 5 3 8 0\n"))
    assert data.interactions.csr.nnz == 8


def test_a_matrix_of_ratings_is_no_list_of_items(write):
    assert "expected a header" in refusal(write("m.txt", "1 0 5 0 0 1\n2 0 0 3 0 1\n"))


def test_lines_that_begin_with_the_number_of_their_items(write):
    message = refusal(write("users.dat", "2 90 7\n3 1 5 90\n2 5 7\n1 5\n"))
    assert "every line begins with the number of its items" in message
    # hand-made data may look like that, but names no user twice
    assert load_path(write("train.txt", "1 90\n2 5 90\n3 1 5 90\n")).interactions.n_users == 3


@pytest.mark.parametrize("text", ["0,1\n5,7\n5,8\n6,7\n", "0,1,2\n5,7,4\n5,8,3\n6,7,2\n"])
def test_the_header_that_pandas_writes_for_columns_without_names(write, text):
    assert "the header that pandas writes" in refusal(write("x.csv", text))


def test_a_first_row_that_counts_up_is_data_where_its_user_is_there_again(write):
    assert pairs(load_path(write("x.csv", "0,1\n0,2\n5,7\n"))) == [(0, 1), (0, 2), (5, 7)]
    assert pairs(load_path(write("x.csv", "0,1\n"))) == [(0, 1)]


@pytest.mark.parametrize("far", [0, 300])
def test_baskets_without_a_user_are_not_merged(write, tmp_path, far):
    rest = "".join(f"{n} {n} 7\n" for n in range(100, 100 + far))
    text = f"3 4 5 6\n{rest}3 9\n"
    message = refusal(write("retail.dat", text))
    assert "two lines begin with '3': expected the user there, and one line per user" in message
    assert "awk '{print NR, $0}'" in message
    # the parts of a split have lines of the same users
    write("d/train.txt", "3 4 5 6\n2 4 9\n")
    write("d/test.txt", "3 9\n2 5 8\n")
    assert load_path(tmp_path / "d").ready_test.nnz == 3
    # but not the pieces of one table
    write("e/part-0.txt", "3 4 5 6\n1 4\n")
    write("e/part-1.txt", "3 9 7\n2 5\n")
    assert "two lines begin with '3'" in refusal(tmp_path / "e")
