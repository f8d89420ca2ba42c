"""Writing `submission.csv` in the report's format, and reading it back to check it.

It has the header `UserId,ItemId` and one row per user, with original ids, and items best first and
separated by blanks. Any id can be written: the second cell is a list as `recsys.data.lists` writes
it, where an item id with a blank, a quote or a line break is quoted, and both cells are quoted as
CSV requires.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.data.ids import canonical_integers
from recsys.data.lists import BLANK, ListError, read_list, write_id, write_list
from recsys.data.stream import shown
from recsys.errors import InputError
from recsys.interactions import CSR, Interactions
from recsys.receivers import Receivers, everyone, texts
from recsys.safe_files import replacing

HEADER = ("UserId", "ItemId")
_CELL = re.compile(r'"([^"]*(?:""[^"]*)*)"|([^",\r\n]*)')
_NEEDS_QUOTES = re.compile(r'[",\r\n]')


class SubmissionError(InputError):
    """A submission is not as it should be; the message names the row."""


def submit(
    path: str | Path,
    interactions: Interactions,
    everything: CSR,
    k: int,
    best_of: Callable[[NDArray[np.int64]], NDArray],
    *,
    receivers: Receivers | None = None,
    separator: str = BLANK,
) -> int:
    """Write the k best unseen items of every receiver, read the file back and check it.

    everything: U x I, all pairs that count as seen. best_of: from internal user ids (V,) to
    internal item ids (V, k), best first, -1 where there is none. receivers: by default all users.
    Returns the number of rows. Raises InputError where the file cannot be written, SubmissionError
    where it does not read back as it should.
    """
    who = everyone(interactions) if receivers is None else receivers
    rows = who.with_strangers(best_of(who.known), everything, k)
    write_submission(path, interactions, rows, receivers=who, separator=separator)
    check_submission(path, interactions, k, seen=everything, receivers=who, separator=separator)
    return len(who)


def write_submission(
    path: str | Path,
    interactions: Interactions,
    top_items_SK: NDArray,
    *,
    receivers: Receivers | None = None,
    separator: str = BLANK,
) -> None:
    """Write `top_items_SK`, integers (S, K): internal ids, best first, -1 where there is none.

    The file has a row for each of the S `receivers`, by default all users in order. It appears
    complete or not at all. Raises InputError for a place that cannot be written to.
    """
    users = everyone(interactions) if receivers is None else receivers
    assert top_items_SK.shape[0] == len(users)
    items = [write_id(name, separator) for name in texts(interactions.item_ids)]
    _write(
        Path(path),
        (
            (user, separator.join([items[i] for i in row if i >= 0]))
            for user, row in zip(users.names, top_items_SK.tolist(), strict=True)
        ),
    )


def rewrite_submission(source: str | Path, target: str | Path, before: str, after: str) -> None:
    """Write the submission `source`, whose separator is `before`, with the separator `after`.

    Raises SubmissionError for a file that is not a submission, InputError for a place that cannot
    be written to.
    """
    source = Path(source)
    rows = _rows(source)
    if tuple(next(rows, ())) != HEADER:
        raise SubmissionError(f"{source}: row 1: expected the header {','.join(HEADER)}")
    _write(
        Path(target),
        (_with_separator(source, n, row, before, after) for n, row in enumerate(rows, 2)),
    )


def _with_separator(
    source: Path, number: int, row: list[str], before: str, after: str
) -> tuple[str, str]:
    try:
        user, cell = row
        return user, write_list(read_list(cell, before), after)
    except ValueError as error:
        raise SubmissionError(f"{source}: row {number}: {error}") from None


def _write(path: Path, rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = HEADER) -> None:
    """Write the header and `rows` to a file that appears complete or not at all."""
    try:
        with (
            replacing(path, mode=0o644) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            file.write(",".join(header) + "\n")
            file.writelines(",".join(map(_quoted, row)) + "\n" for row in rows)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


@dataclass(frozen=True, eq=False)
class Lists:
    """What users are recommended, in original ids.

    users (S,); items, scores: for each user. sources: where each user's (S,) scores come from,
    since scores of a model and numbers of users are on different scales.
    """

    users: Sequence[str]
    items: Sequence[Sequence[str]]
    scores: Sequence[Sequence[float]] | None = None
    sources: Sequence[str] = ()


SCORED = (*HEADER, "Score", "Source")


def write_lists(path: Path, lists: Lists, separator: str = BLANK) -> None:
    """Write lists of any length in the form of a submission, and read them back.

    Scores are a third column, with enough digits to distinguish them, and their sources a fourth.
    The file appears complete or not at all. Raises InputError for a place that cannot be written
    to, SubmissionError where it does not read back as it was written.
    """
    header = HEADER if lists.scores is None else SCORED
    cells: list[Sequence[str]] = [[write_list(row, separator) for row in lists.items]]
    if lists.scores is not None:
        cells.append([separator.join(map(_digits, row)) for row in lists.scores])
        cells.append(lists.sources)
    rows = list(zip(lists.users, *cells, strict=True))
    _write(path, rows, header)
    if [tuple(row) for row in _rows(path)] != [header, *rows]:
        raise SubmissionError(f"{path}: does not read back as it was written")


def _digits(score: float) -> str:
    return str(np.float32(score))


def write_lists_parquet(path: Path, lists: Lists, *, integers: bool) -> None:
    """The same as parquet, with one row per user and its lists. integers: write item ids as
    numbers.

    User ids are numbers if all of them are. Raises InputError where it can't be written,
    SubmissionError where it does not read back as it was written.
    """
    users, names = pa.array(lists.users, pa.string()), pa.string()
    numbers = canonical_integers(users)
    kind = pa.list_(pa.int64() if integers else names)
    items: Sequence[Sequence[str | int]] = lists.items
    if integers:
        items = [[int(name) for name in row] for row in lists.items]
    columns = [users if numbers is None else pa.array(numbers), pa.array(items, kind)]
    if lists.scores is not None:
        columns.append(pa.array(lists.scores, pa.list_(pa.float32())))
        columns.append(pa.array(lists.sources, pa.string()))
    header = HEADER if lists.scores is None else SCORED
    table = pa.table(dict(zip(header, columns, strict=True)))
    try:
        with replacing(path, mode=0o644) as temporary:
            pq.write_table(table, temporary)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    if not pq.read_table(path).equals(table):
        raise SubmissionError(f"{path}: does not read back as it was written")


def check_submission(
    path: str | Path,
    interactions: Interactions,
    k: int,
    *,
    seen: CSR | None = None,
    receivers: Receivers | None = None,
    separator: str = BLANK,
) -> None:
    """Check that the file has one row per receiver, with k distinct unseen items (all, if fewer).

    seen: the pairs that count as seen, by default `interactions.csr`; give the split's `full()` if
    a test set that came with the data is not part of `interactions`. Raises SubmissionError, which
    names the row.
    """
    seen = interactions.csr if seen is None else seen
    who = everyone(interactions) if receivers is None else receivers
    items = texts(interactions.item_ids)
    position = {name: n for n, name in enumerate(items)}
    rows = list(_rows(Path(path)))
    if not rows or tuple(rows[0]) != HEADER:
        raise SubmissionError(f"{path}: row 1: expected the header {','.join(HEADER)}")
    rows = rows[1:]
    if len(rows) != len(who):
        raise SubmissionError(
            f"{path}: has {len(rows)} rows: expected one for each of {len(who)} users"
        )
    nothing = np.empty(0, np.int32)
    for n, (row, user, code) in enumerate(zip(rows, who.names, who.codes.tolist(), strict=True)):
        where = f"{path}: row {n + 2}"
        if len(row) != 2 or row[0] != user:
            raise SubmissionError(f"{where}: expected user {shown(user)} and a list of items")
        try:
            names = read_list(row[1], separator)
        except ListError as error:
            raise SubmissionError(f"{where}: {error}") from None
        unknown = [name for name in names if name not in position]
        if unknown:
            raise SubmissionError(f"{where}: item {shown(unknown[0])} is not in the data")
        own = seen.row(code) if code >= 0 else nothing
        expected = min(k, seen.n_items - len(own))
        codes = np.array([position[name] for name in names], np.int64)
        if len(np.unique(codes)) != len(codes):
            raise SubmissionError(f"{where}: an item comes twice")
        if len(codes) != expected:
            raise SubmissionError(f"{where}: has {len(codes)} items: expected {expected}")
        again = np.intersect1d(codes, own)
        if len(again):
            raise SubmissionError(f"{where}: item {shown(items[again[0]])} was seen by the user")


def _quoted(cell: str) -> str:
    """`cell` as in CSV, with quotes if necessary."""
    return '"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell


def _rows(path: Path) -> Iterator[list[str]]:
    """The cells of every row; not read by `csv`, whose limit of a cell's length is global."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SubmissionError(f"{path}: cannot be read back: {error}") from None
    at, cells = 0, []
    while at < len(text):
        match = _CELL.match(text, at)
        assert match is not None  # the second alternative may be empty
        plain = match[1] is None
        cells.append(match[2] if plain else match[1].replace('""', '"'))
        at = match.end()
        mark = text[at : at + 1]
        if mark == ",":
            at += 1
            if at < len(text):
                continue
            cells.append("")
        elif mark and mark not in "\r\n":
            raise SubmissionError(
                f"{path}: cannot be read back: a stray quote after {shown(cells[-1])}"
            )
        at += 2 if text.startswith("\r\n", at) else 1
        yield cells
        cells = []
