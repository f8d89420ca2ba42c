"""A paired comparison as a record; not in `result`, so that results are read without scipy."""

from __future__ import annotations

from search import stats
from search.record.result import Comparison


def comparison(
    rival: str, c: stats.PairedComparison, name: str, who: str = "the winner"
) -> Comparison:
    """The record of a comparison, with its verdict in words.

    rival: the id that it is against. name, who: what the rival and the model are called in the
    words.
    """
    return Comparison(
        against=rival,
        name=name,
        gain=c.gain,
        ci=(c.low, c.high),
        p=c.p_adjusted,
        proven=c.proven,
        users=c.users,
        words=stats.verdict(c, name, who),
    )
