"""The data of a refit compared with those of its run: what is new or gone, and if they are newer.

Shapes: U users and I items of the new data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR, contained

Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Since:
    """New data and those of a run. run: its name. then, now: all pairs of its data and of the new
    data. users (U,), items (I,): the internal ids in its data, -1 for new ones. then_times,
    now_times: the first and the last time in seconds since 1970, where known.
    """

    run: str
    then: CSR
    now: CSR
    users: NDArray[np.int64]
    items: NDArray[np.int64]
    then_times: Span | None
    now_times: Span | None

    def lines(self) -> Iterator[str]:
        """What has changed, in one line, and a warning where the new data do not look newer."""
        kept = self._kept()
        counts = (
            _counted("users", len(self.users), int((self.users >= 0).sum()), self.then.n_users),
            _counted("items", len(self.items), int((self.items >= 0).sum()), self.then.n_items),
            _counted("pairs", self.now.nnz, kept, self.then.nnz),
        )
        yield f"since {self.run}: {', '.join(counts)}{self._dates()}"
        if (why := self._doubt(kept)) is not None:
            yield f"WARNING: {why}"

    def _doubt(self, kept: int) -> str | None:
        """Why the user may have meant other data, if there is a reason to think so."""
        then, now = self.then_times, self.now_times
        if then is not None and now is not None and now[1] < then[1]:
            return (
                f"the new data end on {_date(now[1])}, before those of {self.run} "
                f"({_date(then[1])}): they are older"
            )
        if kept == self.now.nnz:
            fewer = self.then.nnz - kept
            part = f"a part of its data, with {fewer:,} pairs fewer" if fewer else "the same pairs"
            return f"the new data have no pair that {self.run} was not trained on: they are {part}"
        if self.now.nnz < self.then.nnz:
            return (
                f"the new data have fewer pairs than those of {self.run} ({self.now.nnz:,}, not "
                f"{self.then.nnz:,}): the new model knows nothing of the others"
            )
        return None

    def _kept(self) -> int:
        """How many pairs of the new data are in the earlier data too."""
        u, i = self.users[self.now.users()], self.items[self.now.indices]
        both = (u >= 0) & (i >= 0)
        there = CSR.from_pairs(u[both], i[both], self.then.n_users, self.then.n_items)
        return int(contained(self.then, there).sum())

    def _dates(self) -> str:
        if self.now_times is None:
            return ""
        then = self.then_times
        was = f" (then {_date(then[0])} to {_date(then[1])})" if then is not None else ""
        return f", dates {_date(self.now_times[0])} to {_date(self.now_times[1])}{was}"


def _counted(what: str, now: int, kept: int, then: int) -> str:
    """`100 users (10 new, 90 of the earlier 95)`."""
    return f"{now:,} {what} ({now - kept:,} new, {kept:,} of the earlier {then:,})"


def _date(seconds: int) -> str:
    return str(np.datetime64(seconds, "s"))[:10]
