"""What a paired comparison leaves in a record; apart from `result`, which is read without scipy."""

from __future__ import annotations

from search import stats
from search.record.result import Comparison


def comparison(
    rival: str, c: stats.PairedComparison, name: str, who: str = "the winner"
) -> Comparison:
    """A comparison with its verdict in words; name, who: the rival and its better in them."""
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
