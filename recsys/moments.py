"""Points in time as people write them, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np

MOMENT = re.compile(r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?Z?)?$")


def moment(seconds: float) -> str:
    """Seconds since 1970 as a date, with the time of day unless it is midnight.

    >>> moment(86_400), moment(86_461)
    ('1970-01-02', '1970-01-02 00:01:01')
    """
    text = str(np.datetime64(int(seconds), "s"))
    return text.removesuffix("T00:00:00").replace("T", " ")


def read_moment(text: str) -> int | None:
    """The seconds since 1970 that `moment` would show as `text`; None for any other text.

    >>> read_moment("1970-01-02"), read_moment("1970-01-02 00:01"), read_moment("soon")
    (86400, 86460, None)
    """
    if not MOMENT.match(text):
        return None
    try:
        found = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:  # such as the 31st of February
        return None
    return int(found.replace(tzinfo=UTC).timestamp())
