"""Lengths of time, read in the same way from spaces and from the command line."""

from __future__ import annotations

import re

AUTO = "auto"  # a time budget: the search ends once further trials gain too little
EXPECTED = "a time such as 90s, 10m, 1h30m or 2d"
LONGEST_S = 366 * 86400.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AMOUNT = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
PATTERN = rf"(?:{_AMOUNT}|(?:{_AMOUNT}[smhd])+)"  # a whole one


def seconds_of(text: str) -> float | None:
    """Seconds of `90s`, `10m`, `1.5h`, `1h30m`, `2d` or a plain number of seconds.

    None for any other text, for an empty one, and for more than a year.

    >>> seconds_of("1h30m"), seconds_of("90"), seconds_of("soon")
    (5400.0, 90.0, None)
    """
    text = text.strip()
    if not re.fullmatch(PATTERN, text):
        return None
    if text[-1] not in _UNITS:
        text += "s"
    parts = re.findall(r"([\d.]+)([smhd])", text)
    seconds = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    return seconds if 0 < seconds <= LONGEST_S else None
