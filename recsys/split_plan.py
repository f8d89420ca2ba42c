"""What a split is to hold out. It is apart from `split`, which handles data, so that a space can be
read without any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.moments import moment

Order = Literal["random", "latest", "time"]
Kind = Literal["ratio", "fixed", "since"]


@dataclass(frozen=True)
class HoldOut:
    """How much is held out. kind and amount: a `ratio` in (0, 1), a `fixed` count for each user, or
    everything `since` a point in time, in seconds since 1970. least: with a ratio, so many at least
    of a user who has more than these.
    """

    kind: Kind
    amount: float
    least: int = 0

    def __post_init__(self) -> None:
        if self.kind == "ratio":
            if not 0 < self.amount < 1:
                raise ConfigError(f"ratio is {self.amount!r}: expected a number in (0, 1)")
        elif self.kind == "fixed":
            if not 1 <= self.amount < 2**31 or self.amount != int(self.amount):
                raise ConfigError(f"fixed is {self.amount!r}: expected a whole number, at least 1")
        elif self.kind != "since":
            raise ConfigError(f"split kind is {self.kind!r}: expected ratio, fixed or since")
        if self.least and self.kind != "ratio":
            raise ConfigError(f"least is {self.least!r}: has no meaning with {self.kind}")
        if not 0 <= self.least < 2**31 or self.least != int(self.least):
            raise ConfigError(f"least is {self.least!r}: expected a whole number, 0 or more")

    def counts(self, degrees: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of each user's `degrees` (U,) interactions are held out, int64 (U,). Not for
        `since`, which does not count by user.
        """
        assert self.kind != "since"
        if self.kind == "fixed":
            return np.where(degrees > self.amount, int(self.amount), 0)
        # with the margin 0.29 x 100 gives 29, not the 28.999... of binary fractions
        share = np.floor(self.amount * degrees + 1e-9).astype(np.int64)
        return np.where(degrees > self.least, np.maximum(share, self.least), share)

    def plain(self) -> dict[str, Any]:
        """Its form in a space."""
        if self.kind == "since":
            return {self.kind: moment(self.amount)}
        if self.kind == "fixed":
            return {self.kind: int(self.amount)}
        return {self.kind: self.amount} | ({"least": int(self.least)} if self.least else {})

    def __str__(self) -> str:
        if self.kind == "since":
            return f"since {moment(self.amount)}"
        least = f", at least {self.least} of a user" if self.least else ""
        return f"{self.kind} {self.amount:g}{least}"


@dataclass(frozen=True)
class SplitPlan:
    """What is held out. order: "random", the "latest" of each user, or by "time", everything after
    one date for all users. test: None: no test. race: what fresh splits hold out (`split.resplit`),
    None for as much as `valid`. by_default: nobody asked for `valid`, so that both may give way to
    what suits a test that comes with the data (`recsys.evidence.suited`).
    """

    order: Order = "random"
    test: HoldOut | None = field(default_factory=lambda: HoldOut("ratio", 0.1))
    valid: HoldOut = field(default_factory=lambda: HoldOut("ratio", 0.1))
    race: HoldOut | None = None
    by_default: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        orders = get_args(Order)
        if self.order not in orders:
            raise ConfigError(f"split order is {self.order!r}: expected one of {', '.join(orders)}")
        out_of_place = "fixed" if self.order == "time" else "since"
        for name, rule in (("test", self.test), ("valid", self.valid), ("race", self.race)):
            if rule is not None and rule.kind == out_of_place:
                ways = "ratio or since" if self.order == "time" else "ratio or fixed"
                raise ConfigError(f"split.{name}: {rule} with order {self.order}: expected {ways}")
            if rule is not None and rule.least and self.order == "time":
                raise ConfigError(f"split.{name}: {rule} with order time: one date has no users")

    @property
    def fresh(self) -> HoldOut:
        """What a fresh split of train and validation holds out."""
        return self.valid if self.race is None else self.race

    def plain(self) -> dict[str, Any]:
        """Its form in a space."""
        test = "none" if self.test is None else self.test.plain()
        plain: dict[str, Any] = {"order": self.order, "test": test}
        if not self.by_default:
            plain["valid"] = self.valid.plain()
        # without this key where not set: earlier versions took the digest of such a plan
        return plain if self.race is None else plain | {"race": self.race.plain()}
