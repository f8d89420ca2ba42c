"""The common names of columns of users, items, ratings and times."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.cells import NUMERAL
from recsys.data.ids import BLANKS
from recsys.data.stream import Source, shown
from recsys.errors import ConfigError

ROLES = ("user", "item", "rating", "timestamp")

_COMMON = {
    "user": "user userid uid userprocid customer customerid customerno visitor visitorid member "
    "memberid reviewer reviewerid client clientid username",
    "item": "item itemid iid itemprocid movie movieid product productid sku stockcode asin "
    "parentasin article articleid book bookid isbn track trackid song songid artist artistid game "
    "gameid business businessid poi venue venueid recipe recipeid",
    "rating": "rating ratings score scores star stars overall",
    "timestamp": "timestamp time date datetime ts unixtime unixreviewtime reviewtime createdat "
    "eventtime",
}
# names that tell good from bad in files of click prediction: a rating only if one is needed
_LABELS = (
    "label labels target weight count value click clicked isclick like liked islike preference "
    "feedback response strength confidence implicit purchased converted"
)
LABELS = frozenset(_LABELS.split())
NEEDED = ("user", "item")
COMMON = {role: frozenset(names.split()) for role, names in _COMMON.items()}

_LONGEST, _TYPED = 24, 12  # the most letters of a common name, in any spelling, and of a type
_TYPE = re.compile(r":(token|float)(_seq)?$")
_NUMBER = re.compile(NUMERAL, re.ASCII)


def normal(name: str) -> str:
    """`name` in lower case without blanks, `_`, `-`, `.` and byte order marks."""
    return re.sub(r"[\s_.\ufeff\u200b-]+", "", name).lower()


def names_columns(user: str, item: str, own: Sequence[str] = ("", "")) -> bool:
    """Whether a row is a header: its user and its item are names of such columns.

    own: the names of these columns in this table.
    """
    cells = zip(NEEDED, (user, item), own, strict=True)
    return all(
        len(cell) <= max(_LONGEST, len(name)) + _TYPED
        and normal(_TYPE.sub("", cell)) in names_of(role, [name])
        for role, cell, name in cells
    )


def names_of(role: str, own: Sequence[str]) -> frozenset[str]:
    """The names of a column of users or items, in the form of `normal`: the common ones and `own`.

    A number is not a name, even in a header: pandas numbers columns without names.
    """
    return COMMON[role] | {normal(name) for name in own if name and not _NUMBER.fullmatch(name)}


def normals(cells: pa.Array) -> pa.Array:
    """`normal` of every cell, as strings, without RecBole's `:token`."""
    plain = pc.replace_substring_regex(cells, _TYPE.pattern, "")
    return pc.utf8_lower(pc.replace_substring_regex(plain, r"[\s\pZ_.\x{feff}\x{200b}-]+", ""))


@dataclass(frozen=True)
class Found:
    """Which column has which role. columns: positions by role. unused: names of other columns.
    notes: for the user. headed: whether the columns have names. named: whether the user said which
    column has the item; then a cell is one item, whatever it looks like.
    """

    columns: dict[str, int]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    headed: bool = False
    named: bool = False


def find_columns(
    source: Source,
    names: Sequence[str],
    given: Mapping[str, str] | None,
    *,
    rated: bool = False,
) -> Found:
    """The position of each role among `names`; user and item are required.

    source: for errors. given: names by role, which win over the common names; "none" leaves a role
    out. rated: whether ratings are needed. A rating or time that could be either of two columns is
    left out with a note if it is not needed. Raises InputError if a role is missing or fits two
    columns, ConfigError for an unknown role.
    """
    clean = [name.strip(BLANKS) for name in names]
    found: dict[str, int] = {}
    left_out = set()
    notes = []
    for role, name in (given or {}).items():
        if role not in ROLES:
            raise ConfigError(f"columns: {shown(role)} is not a role: expected {', '.join(ROLES)}")
        wanted = str(name).strip(BLANKS)
        if wanted.lower() in ("", "none") and wanted not in clean:
            if role in NEEDED:
                raise ConfigError(f"columns: {role} cannot be left out: expected a column's name")
            left_out.add(role)
            continue
        at = [n for n, c in enumerate(clean) if c == wanted]
        if not at:
            raise source.error(f"has no column {shown(str(name))}: it has {_listed(clean)}")
        found[role] = _one(source, role, clean, at)
    for role in ROLES:
        if role in found or role in left_out:
            continue
        free = [n for n in range(len(clean)) if n not in found.values()]
        at = [n for n in free if normal(clean[n]) in COMMON[role]]
        if not at and role == "rating" and rated:
            at = [n for n in free if normal(clean[n]) in LABELS]
        at = [n for n in at if not _said_better(normal(clean[n]), [normal(clean[m]) for m in at])]
        if len(at) > 1 and role not in NEEDED and not (rated and role == "rating"):
            both = " and ".join(shown(clean[n]) for n in at)
            notes.append(
                f"columns {both} could each be the {role}: none is used; name it with "
                f"--columns {role}=NAME"
            )
        elif at:
            found[role] = _one(source, role, clean, at)
        elif role in NEEDED:
            raise source.error(
                f"has no {role} column: it has {_listed(clean)}; expected a name such as "
                f"{role}_id, or name it with columns ({role}=NAME)"
            )
    if len(set(found.values())) < len(found):
        raise source.error("columns: one column is named for two roles")
    unused = tuple(name for n, name in enumerate(clean) if n not in found.values() and name)
    named = "item" in (given or {})
    return Found(found, unused, tuple(notes), headed=True, named=named)


def columns_option(user: str, item: str) -> str:
    """The option which says that a cell of the column `item` is one item."""
    return f"--columns user={user},item={item}"


def _said_better(name: str, names: Sequence[str]) -> bool:
    """Whether another of `names` clearly means the same: Amazon's reviews have the date twice."""
    return name == "reviewtime" and "unixreviewtime" in names


def unused_note(names: Sequence[str]) -> str:
    """A note on the columns that were not used."""
    some = [name if name.isprintable() else ascii(name) for name in names[:8]]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    said = "columns not used: " + ", ".join(some) + more
    labels = [name for name in names if normal(name) in LABELS]
    if labels:
        said += (
            f"; if {labels[0]} tells positives from the rest, --min-rating R keeps the rows where "
            f"it is R or more (--min-rating 1 for 0 and 1)"
        )
    return said


def _one(source: Source, role: str, names: Sequence[str], at: list[int]) -> int:
    if len(at) > 1:
        both = " and ".join(shown(names[n]) for n in at[:2])
        same = names[at[0]] == names[at[1]]
        hint = "expected unique names" if same else f"name it with columns ({role}=NAME)"
        raise source.error(f"has two {role} columns, {both}: {hint}")
    return at[0]


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(shown(name, 30) for name in names[:12])
    return text + (f" and {len(names) - 12} more" if len(names) > 12 else "")
