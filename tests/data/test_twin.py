"""The vectorised readers against plain Python that does the same one row at a time."""

import csv
from collections import defaultdict

from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.data.files import find_sources
from recsys.data.formats import find_format
from recsys.data.formats.base import TextTable
from recsys.data.layout import Head
from recsys.data.read import load_path
from recsys.data.table import read_plainly
from recsys.errors import InputError
from tests.data.conftest import pairs
from tests.data.test_fuzz import tables

ids = st.one_of(
    st.integers(-3, 12).map(str),
    st.sampled_from(["007", "x", "ü", "a,b", 'q"q', "9223372036854775808", "-0"]),
)
rows = st.tuples(ids, ids, st.integers(0, 5), st.integers(0, 6))


def slow(table: list[tuple[str, str, int, int]], limit: float) -> list[tuple]:
    """Positives per user in the order of time, the earliest of equal pairs kept."""
    positives = [r for r in table if r[2] >= limit]

    def ids_of(column: int) -> type:
        numbers = [r[column] for r in positives]
        fits = all(
            n.lstrip("-").isdigit() and str(int(n)) == n and -(2**63) <= int(n) < 2**63
            for n in numbers
        )
        return int if fits else str

    user, item = ids_of(0), ids_of(1)
    history: dict = defaultdict(list)
    for u, i, _, _ in sorted(positives, key=lambda r: r[3]):  # stable
        if item(i) not in history[user(u)]:
            history[user(u)].append(item(i))
    return [(u, i) for u in sorted(history) for i in history[u]]


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(rows, min_size=1, max_size=40), st.integers(0, 3))
def test_long_tables(tmp_path_factory, table, limit):
    path = tmp_path_factory.mktemp("twin") / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "rating", "time"])
        writer.writerows(table)
    wanted = slow(table, limit)
    if not wanted:
        return
    data = load_path(path, min_rating=limit)
    assert pairs(data) == wanted
    kept = sum(r[2] >= limit for r in table)
    assert data.interactions.duplicates == kept - len(wanted)


@settings(max_examples=200, deadline=None, database=None)
@given(st.dictionaries(st.integers(0, 50), st.lists(st.integers(0, 9), max_size=8), min_size=1))
def test_lists(tmp_path_factory, lists):
    path = tmp_path_factory.mktemp("twin") / "train.csv"
    text = "".join(f"{u},{' '.join(map(str, items))}\n" for u, items in lists.items())
    path.write_text("UserId,ItemId\n" + text)
    wanted = [(u, i) for u in sorted(lists) for i in dict.fromkeys(lists[u])]
    if wanted:
        data = load_path(path)
        assert pairs(data) == wanted
        assert data.interactions.user_ids.tolist() == sorted(lists)


# what is refused of all rows together, or of ids once they are all known
OF_MANY_ROWS = (
    "no rows",
    "two rows",
    "no interactions",
    "missing",
    "is an error of Excel",
    "has quotes or a formula",
    "is a rounded number",
    "is a list of numbers with",
    "is a list as a program",
    "is a number in E notation",
    "is a float above",
)


@settings(max_examples=600, deadline=None, database=None)
@given(tables())
@example(b'user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t"x"\t1\t1')
@example(b"user,item\n1,x\n2,1.234568e+16\n")
@example(b"user,item\n1,#NV\n")
def test_both_ways_refuse_the_same_files(tmp_path_factory, content):
    """What the fast reader takes, the plain one takes too, with as many rows."""
    path = tmp_path_factory.mktemp("twin") / "x.txt"
    path.write_bytes(content)
    try:
        source = find_sources(path).parts["all"][0]
        _, table = find_format(Head(source))
        assert isinstance(table, TextTable)
        layout = table.layout
        plain = list(read_plainly(source, layout))
    except InputError as error:
        plain, problem = None, str(error)
    try:
        data = load_path(path)
    except InputError as error:
        if plain is None:
            assert str(error) == problem
        else:  # only what a single row cannot show
            assert any(words in str(error) for words in OF_MANY_ROWS)
        return
    assert plain is not None
    if layout.lists is None:
        assert data.interactions.csr.nnz + data.interactions.duplicates == len(plain)
