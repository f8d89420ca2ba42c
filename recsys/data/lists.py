"""A list of ids in one cell: `write_list` and `read_list`, the grammar of both directions.

A cell is a row in the manner of CSV with a separator of its own, a blank by default: `8 36 54`. An
id with the separator, a line break, a quote, a blank at its ends or nothing in it stands in double
quotes, and a quote inside is doubled: `8 "red shoes" "5"" nail"`. Where blanks separate, every
blank of Unicode counts as one, and an id with a mark that could be meant to separate (`MARKS`)
stands in quotes too. So any ids can be written, none can be mistaken for others, and a list of
plain ids looks as it always did.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from recsys.errors import ConfigError

BLANK = " "
MARKS = frozenset(",;|[](){}")  # what else separates items, or stands around them, elsewhere
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


class ListError(ValueError):
    """A cell that is not a list, and why."""


def check_separator(text: str) -> str:
    r"""A separator as the user wrote it (`\t` for a tab), or `ConfigError`.

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
    """`name` as it stands in a list.

    >>> write_id("8"), write_id("red shoes"), write_id('5" nail')
    ('8', '"red shoes"', '"5"" nail"')
    """
    plain = separator not in name and '"' not in name
    # split() cuts at every blank of Unicode, line breaks among them
    if separator == BLANK:
        plain = plain and name.split() == [name] and MARKS.isdisjoint(name)
    else:
        plain = plain and name.strip() == name and name.splitlines() == [name]
    return name if plain else '"' + name.replace('"', '""') + '"'


def write_list(names: Sequence[str], separator: str = BLANK) -> str:
    """`names` in one cell.

    >>> write_list(["8", "a|b", "red shoes"], "|")
    '8|"a|b"|red shoes'
    """
    return separator.join([write_id(name, separator) for name in names])


def read_list(cell: str, separator: str = BLANK) -> list[str]:
    """The ids of a cell that `write_list` wrote; `ListError` for one it cannot have written.

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
                raise ListError("a quote stands inside an id")
            names.append(cell[at:end])
            at = end
        if at == len(cell):
            return names
        if not cell.startswith(separator, at):
            raise ListError(f"expected {separator!r} after a closing quote")
        at += 1
