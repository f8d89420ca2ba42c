"""The names under which users, items, ratings and times are commonly found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

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
COMMON = {role: frozenset(names.split()) for role, names in _COMMON.items()}


def normal(name: str) -> str:
    """`name` in lower case without blanks, `_`, `-` and `.`."""
    return re.sub(r"[\s_.-]+", "", name).lower()


def find_columns(
    source: Source, names: Sequence[str], given: Mapping[str, str] | None
) -> dict[str, int]:
    """Position of each role among `names`; user and item must be there.

    `given` maps roles to names and wins over the common names. `InputError` when a role is
    missing or fits two columns, `ConfigError` for an unknown role.
    """
    clean = [name.strip() for name in names]
    found: dict[str, int] = {}
    for role, name in (given or {}).items():
        if role not in ROLES:
            raise ConfigError(f"columns: {shown(role)} is no role: expected {', '.join(ROLES)}")
        at = [n for n, c in enumerate(clean) if c == str(name).strip()]
        if not at:
            raise source.error(f"has no column {shown(str(name))}: it has {_listed(clean)}")
        found[role] = _one(source, role, clean, at)
    for role in ROLES:
        if role in found:
            continue
        at = [
            n for n, c in enumerate(clean) if normal(c) in COMMON[role] and n not in found.values()
        ]
        if at:
            found[role] = _one(source, role, clean, at)
        elif role in ("user", "item"):
            raise source.error(
                f"has no {role} column: it has {_listed(clean)}; expected a name such as "
                f"{role}_id, or say which with columns ({role}=NAME)"
            )
    if len(set(found.values())) < len(found):
        raise source.error("columns: one column is named for two roles")
    return found


def _one(source: Source, role: str, names: Sequence[str], at: list[int]) -> int:
    if len(at) > 1:
        both = " and ".join(shown(names[n]) for n in at[:2])
        same = names[at[0]] == names[at[1]]
        hint = "expected unique names" if same else f"say which with columns ({role}=NAME)"
        raise source.error(f"has two {role} columns, {both}: {hint}")
    return at[0]


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(shown(name, 30) for name in names[:12])
    return text + (f" and {len(names) - 12} more" if len(names) > 12 else "")
