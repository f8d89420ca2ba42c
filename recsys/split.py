"""Dividing interactions into train, validation and test, per user, without Python loops.

Test items are held out first, from all data, then validation items from the rest. Of a user's c
remaining interactions, floor(ratio x c) are held out, or with `fixed` n, n of them if c > n and
none otherwise. Under order "time" one date divides all users: the latest `ratio` of all
interactions is held out, or all `since` a date.

Seeds: the test items are drawn with `default_rng([0, seed])`, the validation items with
`default_rng([1, seed])`, so the test set depends only on data, test rule and seed. The same seed
gives the same split on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from recsys.data.read import Dataset
from recsys.errors import ConfigError, InputError
from recsys.interactions import CSR, Interactions, Repeats, contained, nothing_like, subset
from recsys.moments import moment
from recsys.split_plan import HoldOut, Order, SplitPlan


class OverlapError(RuntimeError):
    """Parts of a split share pairs, so that numbers measured on it would be worthless."""


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint parts of one data set, all U x I. name: is printed with every number.

    rank: under order latest, int32, aligned with `search_data().indices`: the position of each pair
    in its user's history; otherwise None. when: under order time, int64, likewise: its time in
    seconds since 1970; otherwise None.

    Where values are counts and the order is one of time, a part has the counts known at its end, so
    that nothing held out is in them. repeats: then the repeats that a search may see, of the pairs
    of `search_data()`; otherwise None. last_values: then float32 (E,), the values of `full()`.
    """

    train: CSR
    valid: CSR
    test: CSR | None
    name: str
    seed: int
    rank: NDArray[np.int32] | None = None
    when: NDArray[np.int64] | None = None
    digest: str = ""
    repeats: Repeats | None = None
    last_values: NDArray[np.float32] | None = None

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
        seen = self.train.union(self.valid)
        return seen if self.repeats is None else seen.with_values(self.repeats.counts(seen.nnz))

    def for_test(self) -> tuple[CSR, CSR]:
        """Two parts whose union is `search_data()`, with its values: train and validation, or where
        train lacks what validation knows of it, all and nothing.
        """
        if self.repeats is None:
            return self.train, self.valid
        return self.search_data(), nothing_like(self.train)

    def full(self) -> CSR:
        """All pairs, for the model that is handed over."""
        rest = (self.valid,) if self.test is None else (self.valid, self.test)
        every = self.train.union(*rest)
        return every if self.last_values is None else every.with_values(self.last_values)


def make_split(dataset: Dataset, plan: SplitPlan, seed: int) -> Split:
    """Divide `dataset`; parts that came with it stay as they are.

    Raises InputError if the plan needs an order of time that is unknown, or a part would be empty.
    """
    found = held_out(dataset, plan, seed)
    interactions = dataset.interactions
    if found.test is not None and not found.test.any():
        assert plan.test is not None
        raise InputError(_empty("test", plan.test, interactions.name))
    if dataset.ready_valid is None and not found.valid.any():
        raise InputError(_empty("validation", plan.valid, interactions.name))
    everything = interactions.csr
    in_test = np.zeros(everything.nnz, bool) if found.test is None else found.test
    in_valid = found.valid[~in_test]
    if in_valid.all():
        raise InputError(f"{interactions.name}: nothing is left to train on: hold out less")
    search = subset(everything, ~in_test)
    when = interactions.when if plan.order == "time" else None
    repeats, last = _known(interactions, ~in_test, plan.order), None
    rank_in, when_in = interactions.rank[~in_test], None if when is None else when[~in_test]
    if repeats is not None:
        repeats, last = repeats.within(~in_test), everything.values
        if found.test is None and dataset.ready_test is not None:
            last = everything.union(dataset.ready_test).values
    return Split(
        train=_counted(search, ~in_valid, repeats, rank_in, when_in),
        valid=subset(search, in_valid),
        test=dataset.ready_test if found.test is None else subset(everything, in_test),
        name=_name(plan, dataset, found),
        seed=seed,
        rank=rank_in if plan.order == "latest" else None,
        when=when_in,
        repeats=repeats,
        last_values=last,
    )


def training_part(interactions: Interactions, kept: NDArray[np.bool_], order: Order) -> CSR:
    """The pairs to train on if others are held out by `order`, with the values known by then.

    kept: bool (E,), aligned with `interactions.csr`.
    """
    repeats = None if order == "random" else interactions.repeats
    when = interactions.when if order == "time" else None
    return _counted(interactions.csr, kept, repeats, interactions.rank, when)


def _known(interactions: Interactions, kept: NDArray[np.bool_], order: Order) -> Repeats | None:
    """The repeats known when the pairs `kept` (E,) end; None where nothing is counted by time."""
    repeats = interactions.repeats
    if repeats is None or order == "random":
        return None
    when = interactions.when if order == "time" else None
    return repeats.of(_until(interactions.csr, kept, repeats, interactions.rank, when))


def _counted(
    csr: CSR,
    kept: NDArray[np.bool_],
    repeats: Repeats | None,
    rank: NDArray[np.int32],
    when: NDArray[np.int64] | None,
) -> CSR:
    """The pairs of `csr` that are `kept` (E,); with repeats, counted until they end."""
    part = subset(csr, kept)
    if repeats is None:
        return part
    known = repeats.of(_until(csr, kept, repeats, rank, when))
    return part.with_values(known.within(kept).counts(part.nnz))


def _until(
    csr: CSR,
    kept: NDArray[np.bool_],
    repeats: Repeats,
    rank: NDArray[np.int32],
    when: NDArray[np.int64] | None,
) -> NDArray[np.bool_]:
    """Which repeats (R,) of pairs of `csr` are no later than the last of the pairs `kept` (E,): of
    all users, by their times `when` (E,), or of the same user, by `rank` (E,).
    """
    if when is not None:
        assert repeats.when is not None
        return np.asarray(repeats.when <= when[kept].max(initial=np.iinfo(np.int64).min))
    users, last_U = csr.users(), np.full(csr.n_users, -1, np.int64)
    np.maximum.at(last_U, users[kept], rank[kept])
    return np.asarray(repeats.rank <= last_U[users[repeats.pair]])


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Which pairs of a data set are held out, bool (E,), aligned with its `csr`.

    test: None where there is no test, or its items are not in `csr`. valid: drawn, or given with
    the data.
    """

    test: NDArray[np.bool_] | None
    valid: NDArray[np.bool_]


def held_out(dataset: Dataset, plan: SplitPlan, seed: int) -> HeldOut:
    """What `make_split` holds out, even if parts are empty. Raises InputError if the order that the
    plan needs is unknown.
    """
    _check_seed(seed)
    interactions = dataset.interactions
    everything = interactions.csr
    _check_order(interactions, plan)
    rank = when = None
    match plan.order:
        case "random":
            pass
        case "latest":
            rank = interactions.rank
        case "time":
            when = interactions.when
        case _:
            assert_never(plan.order)
    given = np.zeros(everything.nnz, bool)
    if dataset.ready_valid is not None:
        given = contained(everything, dataset.ready_valid)
    in_test = None
    if plan.test is not None and dataset.ready_test is None:
        in_test = _hold_out(everything, ~given, plan.test, _draw(0, seed), rank, when)
    if dataset.ready_valid is not None:
        return HeldOut(in_test, given)
    rest = np.ones(everything.nnz, bool) if in_test is None else ~in_test
    return HeldOut(in_test, _hold_out(everything, rest, plan.valid, _draw(1, seed), rank, when))


def _check_order(interactions: Interactions, plan: SplitPlan) -> None:
    """Raise InputError if a plan needs an order that the data does not have."""
    if plan.order in interactions.orders:
        return
    if plan.order == "latest":
        what = "the order of time, which is unknown"
        expected = "a timestamp column or chronological lists; use order random"
    else:
        what = "points in time, which are unknown"
        expected = "a timestamp column with dates; use order " + (
            "latest" if interactions.ordered else "random"
        )
    reason = interactions.order_problem
    reason = f"{reason}; use order random" if reason else f"expected {expected}"
    raise InputError(f"{interactions.name}: split order {plan.order} needs {what}: {reason}")


def resplit(split: Split, plan: SplitPlan, seed: int) -> Split:
    """Train and validation of `split`, divided again by `plan.fresh`; test items are in neither.

    Order random: validation items are drawn again. Order latest, which has no chance of its own:
    each user's history first ends s interactions earlier, with s drawn from 1..v and v the number
    held out, and the latest v before that are the validation items; later ones are in neither part.
    So a fresh split is again a prediction of the future, and not only on items that configs were
    chosen on. (If no user would have a validation item, histories are not shortened.) Order time:
    the same with the history of all users at once, and a date that moves as far as its end. Raises
    InputError if no user has a validation item, or if the split lacks the order of time that the
    plan needs.
    """
    _check_seed(seed)
    search = split.search_data()
    rng = _draw(1, seed)
    rank, when, rule, repeats = None, None, plan.fresh, split.repeats
    kept = np.ones(search.nnz, bool)
    if plan.order == "latest" and split.rank is not None:
        kept = _earlier(search, rule, rng, split.rank)
        rank = split.rank[kept]
    elif plan.order == "time" and split.when is not None:
        count = int((split.when >= start_of(split.when, rule)).sum())
        kept, rule = ends_earlier(split.when, rule, int(rng.integers(1, max(count, 1) + 1)))
        when = split.when[kept]
    elif plan.order != "random":
        raise InputError(f"split order {plan.order} needs a split that knows the order of time")
    if repeats is not None:
        ranks = np.zeros(search.nnz, np.int32) if split.rank is None else split.rank
        known = _until(search, kept, repeats, ranks, split.when)
        repeats = repeats.of(known).within(kept)
    if plan.order != "random":
        search = subset(search, kept)
    everyone = np.ones(search.nnz, bool)
    in_valid = _hold_out(search, everyone, rule, rng, rank, when)
    if not in_valid.any():
        raise InputError(_empty("validation", plan.fresh, "the data of the race"))
    order = np.zeros(search.nnz, np.int32) if rank is None else rank
    return Split(
        train=_counted(search, ~in_valid, repeats, order, when),
        valid=subset(search, in_valid),
        test=None,
        name=f"{plan.order} {rule} of train and validation",
        seed=seed,
        rank=rank,
        when=when,
        repeats=repeats,
    )


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ConfigError(f"seed is {seed}: expected 0 or more")


def _draw(stage: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([stage, seed])


def _name(plan: SplitPlan, dataset: Dataset, found: HeldOut) -> str:
    when = dataset.interactions.when if plan.order == "time" else None
    valid = "given" if dataset.ready_valid is not None else f"{plan.order} {plan.valid}"
    if when is not None and dataset.ready_valid is None:
        valid = f"time, validation from {moment(when[found.valid].min())}"
    if dataset.ready_test is not None:
        return f"{valid}, test given"
    if plan.test is None:
        return f"{valid}, test none"
    if when is not None:
        return f"{valid}, test from {moment(when[found.test].min())}"
    return f"{valid}, test {plan.test}"


def _empty(part: str, rule: HoldOut, name: str) -> str:
    if rule.kind == "since":
        return f"{name}: the {part} part would be empty with {rule}: expected an earlier date"
    least = int(np.ceil(1 / rule.amount - 1e-9)) if rule.kind == "ratio" else int(rule.amount) + 1
    least = min(least, rule.least + 1) if rule.least else least
    return (
        f"{name}: the {part} part would be empty with {rule}: "
        f"expected a user with at least {least} interactions"
    )


def _positions(csr: CSR, order_in_row: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The place of each pair if its row is sorted by `order_in_row` (below 2^32), int64 (E,)."""
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
    when: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Which pairs of `csr` are held out, bool (E,): random ones, the latest of each user by `rank`,
    or the latest of all by `when`. eligible: bool (E,), the pairs that may be.
    """
    if when is not None:
        return eligible & (when >= start_of(when[eligible], rule))
    pool = subset(csr, eligible)
    if rank is None:
        order = rng.integers(0, 1 << 32, pool.nnz, dtype=np.uint64)
    else:
        order = np.uint64(2**32 - 1) - rank[eligible].astype(np.uint64)  # the latest first
    counts = rule.counts(pool.degrees())
    held = np.zeros(csr.nnz, bool)
    held[eligible] = _positions(pool, order) < np.repeat(counts, pool.degrees())
    return held


def start_of(when: NDArray[np.int64], rule: HoldOut) -> float:
    """When the held-out part of interactions at the times `when` begins, in seconds since 1970.

    By a `ratio`, the part has at most that share of them. Interactions of the same moment stay
    together; only if the last moment alone has more than the ratio does the part have more.
    """
    if rule.kind == "since":
        return rule.amount
    ordered = np.sort(when)
    count = int(rule.counts(np.array([len(when)]))[0])
    if not count:
        return np.inf
    later = ordered[ordered > ordered[len(when) - count - 1]]
    return float(later[0] if len(later) else ordered[-1])


def ends_earlier(
    when: NDArray[np.int64], rule: HoldOut, drop: int
) -> tuple[NDArray[np.bool_], HoldOut]:
    """Which of E interactions remain, bool (E,), if history ends before the last `drop` of them
    (from 1 to E - 1); and the rule for the rest: a date moves as far as the end.

    Interactions of the same moment stay or are dropped together, so more than `drop` may be.
    """
    kept = when < np.sort(when)[len(when) - drop]
    if rule.kind == "since" and kept.any():
        rule = HoldOut("since", rule.amount - float(when.max() - when[kept].max()))
    return kept, rule


def _earlier(
    csr: CSR, rule: HoldOut, rng: np.random.Generator, rank: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which pairs remain, bool (E,), if each history ends 1..v interactions earlier; all of them if
    no history would then be long enough to hold anything out.
    """
    counts = rule.counts(csr.degrees())
    # for a user without held-out items, s is drawn from 1..1 and nothing is dropped
    drop = np.where(counts > 0, rng.integers(1, np.maximum(counts, 1) + 1), 0)
    if not rule.counts(csr.degrees() - drop).any():
        return np.ones(csr.nnz, bool)
    latest_first = np.uint64(2**32 - 1) - rank.astype(np.uint64)
    return _positions(csr, latest_first) >= np.repeat(drop, csr.degrees())
