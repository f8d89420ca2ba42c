"""The users of a submission: every user of the data, or a list of users that came with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR, Interactions, popular_items


@dataclass(frozen=True, eq=False)
class Receivers:
    """S users in the order of the submission's rows.

    names: their ids as text. codes: int64 (S,), internal ids; -1 for a user who is not in the data
    and gets the most popular items.
    """

    names: Sequence[str]
    codes: NDArray[np.int64]

    def __post_init__(self) -> None:
        assert len(self.names) == len(self.codes)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def known(self) -> NDArray[np.int64]:
        """The internal ids of the users that are in the data."""
        return self.codes[self.codes >= 0]

    def with_strangers(self, top_items_VK: NDArray, everything: CSR, k: int) -> NDArray[np.int64]:
        """The items of all users, integers (S, k): `top_items_VK` for those in the data, popular
        items for others.

        Popular are the items with the most users in `everything`, at equal numbers the lower item;
        -1 where there are fewer than k items.
        """
        rows = np.full((len(self), k), -1, np.int64)
        strangers = self.codes < 0
        rows[strangers] = popular_items(everything, k)
        rows[~strangers] = top_items_VK
        return rows


def texts(ids: NDArray) -> list[str]:
    """Original ids as text."""
    return [str(value) for value in ids.tolist()]


def everyone(interactions: Interactions) -> Receivers:
    """All users of the data, in the order of internal ids."""
    return Receivers(texts(interactions.user_ids), np.arange(interactions.n_users))


def receivers_of(names: Sequence[str], user_ids: NDArray) -> Receivers:
    """The users called `names`, each once, at the place where it first appears.

    user_ids: (U,), the original ids of the data.
    """
    unique = list(dict.fromkeys(names))
    place = {name: n for n, name in enumerate(texts(user_ids))}
    return Receivers(unique, np.array([place.get(name, -1) for name in unique], np.int64))
