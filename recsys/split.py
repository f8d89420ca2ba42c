"""Dividing interactions into train, validation and test, per user, without Python loops.

Test is held out first, from everything; validation then from what remains. A user with c
interactions left gives floor(ratio x c) of them, or `fixed` n if c > n and none otherwise.

Seeds: the test items are drawn with `default_rng([0, seed])`, the validation items with
`default_rng([1, seed])`, so the test set depends on data, test rule and seed alone. The same seed
gives the same split on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.read import Dataset
from recsys.errors import ConfigError, InputError
from recsys.interactions import CSR, contained, subset


class OverlapError(RuntimeError):
    """Parts of a split share pairs: numbers measured on it would be worthless."""


@dataclass(frozen=True)
class HoldOut:
    """How much of a user's items is held out: a `ratio` in (0, 1) or a `fixed` count."""

    kind: Literal["ratio", "fixed"]
    amount: float

    def __post_init__(self) -> None:
        if self.kind == "ratio":
            if not 0 < self.amount < 1:
                raise ConfigError(f"ratio is {self.amount!r}: expected a number in (0, 1)")
        elif self.kind == "fixed":
            if not 1 <= self.amount < 2**31 or self.amount != int(self.amount):
                raise ConfigError(f"fixed is {self.amount!r}: expected a whole number, at least 1")
        else:
            raise ConfigError(f"split kind is {self.kind!r}: expected ratio or fixed")

    def counts(self, degrees: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of `degrees` interactions each user gives, int64 (U,)."""
        if self.kind == "fixed":
            return np.where(degrees > self.amount, int(self.amount), 0)
        # the margin makes 0.29 x 100 the 29 it is, not the 28.999... of binary fractions
        return np.floor(self.amount * degrees + 1e-9).astype(np.int64)

    def __str__(self) -> str:
        return f"{self.kind} {self.amount:g}"


@dataclass(frozen=True)
class SplitPlan:
    """What is held out. `order`: "random", or the "latest" of each user. `test` None: no test."""

    order: Literal["random", "latest"] = "random"
    test: HoldOut | None = field(default_factory=lambda: HoldOut("ratio", 0.1))
    valid: HoldOut = field(default_factory=lambda: HoldOut("ratio", 0.1))

    def __post_init__(self) -> None:
        if self.order not in ("random", "latest"):
            raise ConfigError(f"split order is {self.order!r}: expected random or latest")


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint parts of one data set, all U x I. `name` is printed beside every number.

    rank: int32, aligned with `search_data().indices`: position of each pair in its user's
    history; None where the order is unknown or irrelevant.
    """

    train: CSR
    valid: CSR
    test: CSR | None
    name: str
    seed: int
    rank: NDArray[np.int32] | None = None
    digest: str = ""

    def __post_init__(self) -> None:
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        known = {name: part for name, part in parts.items() if part is not None}
        names = list(known)
        sha = hashlib.sha256()
        for n, name in enumerate(names):
            sha.update(f"{name} {known[name].digest()}\n".encode())
            for other in names[n + 1 :]:
                shared = known[name].overlap(known[other])
                if shared:
                    raise OverlapError(
                        f"{name} and {other} share {shared} of {known[name].nnz} and "
                        f"{known[other].nnz} pairs: expected none"
                    )
        object.__setattr__(self, "digest", sha.hexdigest()[:16])

    def search_data(self) -> CSR:
        """Train and validation: what a search may see."""
        return self.train.union(self.valid)

    def full(self) -> CSR:
        """Everything, for the model that is handed over."""
        rest = (self.valid,) if self.test is None else (self.valid, self.test)
        return self.train.union(*rest)


def make_split(dataset: Dataset, plan: SplitPlan, seed: int) -> Split:
    """Divide `dataset`; parts that came with it stay as they are.

    `InputError` when the order of time is asked for but unknown, or a part would be empty.
    """
    _check_seed(seed)
    interactions = dataset.interactions
    everything = interactions.csr
    draws = plan.test is not None and dataset.ready_test is None
    if plan.order == "latest" and not interactions.ordered:
        reason = interactions.order_problem or "expected a timestamp column or chronological lists"
        raise InputError(
            f"{interactions.name}: split order latest needs the order of time, which is unknown: "
            f"{reason}; use order random"
        )
    rank = interactions.rank if plan.order == "latest" else None
    given = np.zeros(everything.nnz, bool)
    if dataset.ready_valid is not None:
        given = contained(everything, dataset.ready_valid)
    in_test = np.zeros(everything.nnz, bool)
    if draws:
        assert plan.test is not None
        in_test = _hold_out(everything, ~given, plan.test, _draw(0, seed), rank)
        if not in_test.any():
            raise InputError(_empty("test", plan.test, interactions.name))
    search = subset(everything, ~in_test)
    search_rank = None if rank is None else rank[~in_test]
    given = given[~in_test]
    if dataset.ready_valid is not None:
        in_valid = given
    else:
        everyone = np.ones(search.nnz, bool)
        in_valid = _hold_out(search, everyone, plan.valid, _draw(1, seed), search_rank)
        if not in_valid.any():
            raise InputError(_empty("validation", plan.valid, interactions.name))
    if not (~in_valid).any():
        raise InputError(f"{interactions.name}: nothing is left to train on: hold out less")
    test = subset(everything, in_test) if draws else dataset.ready_test
    return Split(
        train=subset(search, ~in_valid),
        valid=subset(search, in_valid),
        test=test,
        name=_name(plan, dataset),
        seed=seed,
        rank=search_rank,
    )


def resplit(split: Split, plan: SplitPlan, seed: int) -> Split:
    """Train and validation of `split` divided again by `plan.valid`; the test items are in neither.

    Order random: drawn again. Order latest, which leaves nothing to chance: each user's history
    first ends s interactions earlier, s drawn from 1..v with v the number held out, and the latest
    v before that are the validation; what came later is in neither part. So a fresh split is again
    a prediction of the future, on items that no config was chosen on alone.
    """
    _check_seed(seed)
    search = split.search_data()
    rng = _draw(1, seed)
    if plan.order == "latest":
        if split.rank is None:
            raise InputError("split order latest needs a split that knows the order of time")
        kept = _earlier(search, plan.valid, rng, split.rank)
        search, rank = subset(search, kept), split.rank[kept]
    else:
        rank = None
    everyone = np.ones(search.nnz, bool)
    in_valid = _hold_out(search, everyone, plan.valid, rng, rank)
    if not in_valid.any():
        raise InputError(_empty("validation", plan.valid, "the data of the race"))
    return Split(
        train=subset(search, ~in_valid),
        valid=subset(search, in_valid),
        test=None,
        name=f"{plan.order} {plan.valid} of train and validation",
        seed=seed,
        rank=rank,
    )


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ConfigError(f"seed is {seed}: expected 0 or more")


def _draw(stage: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([stage, seed])


def _name(plan: SplitPlan, dataset: Dataset) -> str:
    valid = "given" if dataset.ready_valid is not None else f"{plan.order} {plan.valid}"
    if dataset.ready_test is not None:
        return f"{valid}, test given"
    return f"{valid}, test {'none' if plan.test is None else plan.test}"


def _empty(part: str, rule: HoldOut, name: str) -> str:
    least = int(np.ceil(1 / rule.amount - 1e-9)) if rule.kind == "ratio" else int(rule.amount) + 1
    return (
        f"{name}: the {part} part would be empty with {rule}: "
        f"expected a user with at least {least} interactions"
    )


def _positions(csr: CSR, order_in_row: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Place of each pair when its row is sorted by `order_in_row` (below 2^32), int64 (E,)."""
    key = (csr.users().astype(np.uint64) << np.uint64(32)) | order_in_row
    place = np.empty(csr.nnz, np.int64)
    place[np.argsort(key, kind="stable")] = np.arange(csr.nnz)
    return place - np.repeat(csr.indptr[:-1], csr.degrees())


def _hold_out(
    csr: CSR,
    eligible: NDArray[np.bool_],
    rule: HoldOut,
    rng: np.random.Generator,
    rank: NDArray[np.int32] | None,
) -> NDArray[np.bool_]:
    """Which pairs of `csr` are held out, bool (E,): at random, or by `rank` the latest."""
    pool = subset(csr, eligible)
    if rank is None:
        order = rng.integers(0, 1 << 32, pool.nnz, dtype=np.uint64)
    else:
        order = np.uint64(2**32 - 1) - rank[eligible].astype(np.uint64)  # the latest first
    counts = rule.counts(pool.degrees())
    held = np.zeros(csr.nnz, bool)
    held[eligible] = _positions(pool, order) < np.repeat(counts, pool.degrees())
    return held


def _earlier(
    csr: CSR, rule: HoldOut, rng: np.random.Generator, rank: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which pairs remain when each history ends 1..v interactions earlier, bool (E,)."""
    counts = rule.counts(csr.degrees())
    # a user who holds nothing out draws from 1..1 and drops nothing
    drop = np.where(counts > 0, rng.integers(1, np.maximum(counts, 1) + 1), 0)
    latest_first = np.uint64(2**32 - 1) - rank.astype(np.uint64)
    return _positions(csr, latest_first) >= np.repeat(drop, csr.degrees())
