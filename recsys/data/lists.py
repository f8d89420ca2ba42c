"""A list of ids in one cell: `write_list` and `read_list`, with the same grammar.

A cell is like a row of CSV with a separator of its own, by default a blank: `8 36 54`. An id that
is empty or has the separator, a line break, a quote or a blank at its ends is put in double quotes,
and a quote inside is doubled: `8 "red shoes" "5"" nail"`. If blanks separate, every blank of
Unicode does, and an id with a mark that could be meant to separate (`MARKS`) is quoted too. So all
ids can be written, none can be mistaken for others, and a list of plain ids looks as usual.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from recsys.errors import ConfigError

BLANK = " "
MARKS = frozenset(",;|[](){}")  # what other formats have between items, or around them
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


class ListError(ValueError):
    """A cell that is not a list, and why."""


def check_separator(text: str) -> str:
    r"""The separator for a text of the user (`\t` is a tab). Raises ConfigError for a wrong one.

    >>> check_separator("|"), check_separator(r"\t")
    ('|', '\t')
    """
    separator = "\t" if text == r"\t" else text
    fits = len(separator) == 1 and (separator.isprintable() or separator == "\t")
    if not fits or separator == '"' or separator.isalnum():
        raise ConfigError(
            rf"separator {text!r}: expected one printable character or \t, and no quote, "
            "letter or digit"
        )
    return separator


def write_id(name: str, separator: str = BLANK) -> str:
    """`name` as it is written in a list.

    >>> write_id("8"), write_id("red shoes"), write_id('5" nail')
    ('8', '"red shoes"', '"5"" nail"')
    """
    plain = separator not in name and '"' not in name
    # split() cuts at every blank of Unicode, including line breaks
    if separator == BLANK:
        plain = plain and name.split() == [name] and MARKS.isdisjoint(name)
    else:
        plain = plain and name.strip() == name and name.splitlines() == [name]
    return name if plain else '"' + name.replace('"', '""') + '"'


def write_list(names: Sequence[str], separator: str = BLANK) -> str:
    """`names` as one cell.

    >>> write_list(["8", "a|b", "red shoes"], "|")
    '8|"a|b"|red shoes'
    """
    return separator.join([write_id(name, separator) for name in names])


def read_list(cell: str, separator: str = BLANK) -> list[str]:
    """The ids of a cell. Raises ListError for one that `write_list` cannot have written.

    >>> read_list('8 "red shoes" "5"" nail"')
    ['8', 'red shoes', '5" nail']
    """
    if not cell:
        return []
    if '"' not in cell:
        return cell.split(separator)
    names = []
    at = 0
    while True:
        if cell.startswith('"', at):
            match = _QUOTED.match(cell, at)
            if match is None:
                raise ListError("a quote is not closed")
            names.append(match[1].replace('""', '"'))
            at = match.end()
        else:
            end = cell.find(separator, at)
            end = len(cell) if end < 0 else end
            if '"' in cell[at:end]:
                raise ListError("a quote is inside an id")
            names.append(cell[at:end])
            at = end
        if at == len(cell):
            return names
        if not cell.startswith(separator, at):
            raise ListError(f"expected {separator!r} after a closing quote")
        at += 1
