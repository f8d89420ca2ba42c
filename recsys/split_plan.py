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
    everything `since` a point in time, in seconds since 1970.
    """

    kind: Kind
    amount: float

    def __post_init__(self) -> None:
        if self.kind == "ratio":
            if not 0 < self.amount < 1:
                raise ConfigError(f"ratio is {self.amount!r}: expected a number in (0, 1)")
        elif self.kind == "fixed":
            if not 1 <= self.amount < 2**31 or self.amount != int(self.amount):
                raise ConfigError(f"fixed is {self.amount!r}: expected a whole number, at least 1")
        elif self.kind != "since":
            raise ConfigError(f"split kind is {self.kind!r}: expected ratio, fixed or since")

    def counts(self, degrees: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of each user's `degrees` (U,) interactions are held out, int64 (U,). Not for
        `since`, which does not count by user.
        """
        assert self.kind != "since"
        if self.kind == "fixed":
            return np.where(degrees > self.amount, int(self.amount), 0)
        # with the margin 0.29 x 100 gives 29, not the 28.999... of binary fractions
        return np.floor(self.amount * degrees + 1e-9).astype(np.int64)

    def plain(self) -> dict[str, Any]:
        """Its form in a space."""
        if self.kind == "since":
            return {self.kind: moment(self.amount)}
        return {self.kind: self.amount if self.kind == "ratio" else int(self.amount)}

    def __str__(self) -> str:
        return (
            f"since {moment(self.amount)}"
            if self.kind == "since"
            else (f"{self.kind} {self.amount:g}")
        )


@dataclass(frozen=True)
class SplitPlan:
    """What is held out. order: "random", the "latest" of each user, or by "time", everything after
    one date for all users. test: None: no test.
    """

    order: Order = "random"
    test: HoldOut | None = field(default_factory=lambda: HoldOut("ratio", 0.1))
    valid: HoldOut = field(default_factory=lambda: HoldOut("ratio", 0.1))

    def __post_init__(self) -> None:
        orders = get_args(Order)
        if self.order not in orders:
            raise ConfigError(f"split order is {self.order!r}: expected one of {', '.join(orders)}")
        out_of_place = "fixed" if self.order == "time" else "since"
        for name, rule in (("test", self.test), ("valid", self.valid)):
            if rule is not None and rule.kind == out_of_place:
                ways = "ratio or since" if self.order == "time" else "ratio or fixed"
                raise ConfigError(f"split.{name}: {rule} with order {self.order}: expected {ways}")

    def plain(self) -> dict[str, Any]:
        """Its form in a space."""
        test = "none" if self.test is None else self.test.plain()
        return {"order": self.order, "test": test, "valid": self.valid.plain()}
