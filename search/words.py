"""Numbers, times, configs and addresses as people read them, on every screen and page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Row = tuple[str, str]
BASELINE_NAMES = {"ease": "EASE", "slim": "SLIM"}
LEAK = (
    "Validation items were kept out of the negatives (negatives_exclude: all). The model is pushed "
    "away from every unseen item except the ones it is measured on, so these validation numbers "
    "are too high and choose worse models. They are shown for comparison and can't win."
)


def number(value: Any, digits: int = 4) -> str:
    """A metric value with `digits` decimals, `-` where there is none; never -0.0000."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def percent(value: Any) -> str:
    """A share with one decimal, `2.1%`; `-` where there is none."""
    text = "-" if number(value) == "-" else number(100 * value, 1)
    return text if text == "-" else f"{text}%"


def level(value: Any) -> bool:
    """Whether a difference is 0 in the four decimals that are shown."""
    return number(value) == "0.0000"


def counted(n: int, what: str) -> str:
    """`1 trial`, `4,000 trials`: a number with its noun."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def short(value: Any) -> str:
    """A parameter's value in few characters: four significant digits for a float."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def instant(text: str | None) -> str | None:
    """A point in time as people read it; a text that is none stays.

    >>> instant("2026-01-31T12:00:00.000Z")
    '2026-01-31 12:00:00 UTC'
    """
    return text and re.sub(r"^([\d-]{10})T([\d:]{8})(\.\d+)?Z$", r"\1 \2 UTC", text)


def unbroken(text: str) -> str:
    """`text` for a page, where no line ends within `p = 0.03`.

    >>> unbroken("a gain (p = 0.03)")
    'a gain (p\xa0=\xa00.03)'
    """
    return re.sub(r"\bp ([=<]) (?=\d)", "p\u00a0\\1\u00a0", text)


def duration(seconds: float | None) -> str:
    """`42s`, `3m 05s`, `2h 07m`.

    >>> duration(185)
    '3m 05s'
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def span(seconds: float) -> str:
    """Like `duration`, with two digits below ten seconds.

    >>> span(0.0314), span(7.26), span(185)
    ('0.031s', '7.3s', '3m 05s')
    """
    return f"{seconds:.2g}s" if seconds < 9.95 else duration(seconds)


def gigabytes(size: float) -> str:
    """`12.3 GB`. size: in bytes."""
    return f"{size / 1e9:.1f} GB"


def utc(time: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC, to the millisecond."""
    if time is None:
        return None
    return (
        datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def hide_password(text: str) -> str:
    """`text` without the user and password of any address in it.

    >>> hide_password("--tracking-uri https://ann:secret@host/x")
    '--tracking-uri https://***@host/x'
    >>> hide_password("postgresql://host/x?user=ann&password=secret")
    'postgresql://host/x?user=ann&password=***'
    """
    # A database's password may contain a slash, and a carelessly typed one an @.
    text = re.sub(r"://(?:[^/@:\s]*:[^\s'\"]*|[^/@\s]+)@", "://***@", text)
    return re.sub(r"([?&](?:ssl)?(?:password|passwd|pwd)=)[^&\s'\"]+", r"\1***", text)


def config_line(params: Mapping[str, Any] | None) -> str:
    """`lr=0.0213 margin=1.2`."""
    return " ".join(f"{name}={short(value)}" for name, value in (params or {}).items())


def baseline_name(name: str) -> str:
    """The name of a baseline in a sentence."""
    return BASELINE_NAMES.get(name.lower(), name)


def interval(ci: Any) -> str:
    """`0.1601 to 0.1770`; empty where there is no interval, or only a point."""
    if not is_interval(ci) or ci[0] == ci[1]:
        return ""
    return f"{number(ci[0])} to {number(ci[1])}"


def is_interval(ci: Any) -> bool:
    """Whether both ends of an interval are known, even if they are the same point."""
    return isinstance(ci, Sequence) and len(ci) == 2 and "-" not in map(number, ci)
