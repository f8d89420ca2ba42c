"""What a split is to hold out: apart from `split`, which knows data, so that a space can be read
without any.
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
    """How much is held out: a `ratio` in (0, 1), a `fixed` count for each user, or all `since` a
    point in time, in seconds since 1970.
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
        """How many of `degrees` interactions each user gives, int64 (U,); not of `since`, which
        asks no user.
        """
        assert self.kind != "since"
        if self.kind == "fixed":
            return np.where(degrees > self.amount, int(self.amount), 0)
        # the margin makes 0.29 x 100 the 29 it is, not the 28.999... of binary fractions
        return np.floor(self.amount * degrees + 1e-9).astype(np.int64)

    def plain(self) -> dict[str, Any]:
        """As a space writes it."""
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
    """What is held out. `order`: "random", the "latest" of each user, or by "time", what came after
    one date for all users. `test` None: no test.
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
        """As a space writes it."""
        test = "none" if self.test is None else self.test.plain()
        return {"order": self.order, "test": test, "valid": self.valid.plain()}
