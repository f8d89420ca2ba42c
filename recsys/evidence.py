"""How many users decide a measurement: counted from the data and the rules of the split, before
anything is drawn.

How many items of a user are in each part depends only on counts, not on the seed. So what a split
can show, and what it cannot, is known before a search begins.

Shapes: U users.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.read import Dataset
from recsys.interactions import CSR, contested, subset
from recsys.metrics import Metric, same_in_every_order
from recsys.split import HoldOut, SplitPlan, ends_earlier, held_out, start_of

MISSED = 0.05  # of the users of a given test: so many may be missing in validation
HELD = 0.2  # of all pairs: one item of each user is not held out where it would take more
# Of the items of a user in the race: with a fifth, models that need few items looked better than
# those that the test found better, and differences were no clearer (docs/experiments.md).
MOST = 0.15


@dataclass(frozen=True, eq=False)
class Part:
    """A held-out part in counts, int64 (U,): the items that each user has `seen` before it, and
    those that are `held` out.

    rule: decided how many are held out. first: the fewest items that a user needs for one to be
    held out, if there is such a number. Both are None for a part that came with the data. Under
    order time, since: when the part begins, in seconds since 1970; new_items: how many of its items
    nobody had before; strange: how many of its pairs have such an item.
    """

    name: Literal["validation", "test"]
    seen: NDArray[np.int64]
    held: NDArray[np.int64]
    n_items: int
    rule: HoldOut | None = None
    first: int | None = None
    since: float | None = None
    strange: int = 0
    new_items: int = 0

    @property
    def holding(self) -> int:
        """The number of users with held-out items."""
        return int((self.held > 0).sum())

    @property
    def pairs(self) -> int:
        """The number of held-out pairs."""
        return int(self.held.sum())

    @property
    def asks(self) -> NDArray[np.bool_]:
        """Whether a user's value depends on the order of items, bool (U,)."""
        return contested(self.seen, self.held, self.n_items)

    @property
    def asked(self) -> int:
        """The number of such users, over whom a value is a mean."""
        return int(self.asks.sum())

    @property
    def unknown(self) -> int:
        """How many of those have no item to learn from."""
        return int((self.asks & (self.seen == 0)).sum())

    def certain(self, metric: Metric) -> int:
        """How many of those have the same value in every order, since the list is so long."""
        free_U = self.n_items - self.seen
        return int((self.asks & same_in_every_order(metric, free_U, self.held)).sum())


def parts(dataset: Dataset, plan: SplitPlan) -> list[Part]:
    """The held-out parts that `recsys.split.make_split` would give: test, if any, and validation.

    A part without any items is included. Raises InputError where the order that the plan needs is
    unknown.
    """
    if plan.order == "time":
        return _parts_by_time(dataset, plan)
    csr = dataset.interactions.csr
    all_U, n_items = csr.degrees(), csr.n_items
    given_U = _degrees(dataset.ready_valid, csr)
    draws = plan.test is not None and dataset.ready_test is None
    test_U = _degrees(dataset.ready_test, csr)
    if draws:
        assert plan.test is not None
        test_U = plan.test.counts(all_U - given_U)
    search_U = all_U - test_U if draws else all_U
    drawn_valid = dataset.ready_valid is None
    valid_U = plan.valid.counts(search_U) if drawn_valid else given_U
    most = int(all_U.max(initial=0))
    found = []
    if draws or dataset.ready_test is not None:
        rule = plan.test if draws else None
        first = _first(most, plan.test, None) if draws and drawn_valid else None
        found.append(Part("test", search_U, test_U, n_items, rule, first))
    rule = plan.valid if drawn_valid else None
    first = _first(most, plan.valid, plan.test if draws else None) if drawn_valid else None
    found.append(Part("validation", search_U - valid_U, valid_U, n_items, rule, first))
    return found


def suited(dataset: Dataset, plan: SplitPlan) -> SplitPlan:
    """The plan, with validation and a race that suit a test which came with the data.

    By a tenth, a user with nine items or fewer has nothing held out, and no part in choosing
    anything, but in the test they count like all others. Where nobody asked for how validation
    items are drawn, and more than `MISSED` of the test's users would have none, each user who has
    two items or more has at least one held out, unless histories are so short that this is more
    than `HELD` of all pairs: what trains on much less is another model. And the race holds out a
    larger share, up to that of the test and to `MOST`: what several items of each user tell apart,
    one or two may not. What is returned is no default any more.
    """
    free, plan = plan.by_default, replace(plan, by_default=False)
    if dataset.ready_test is None or not free or plan.order == "time":
        return plan
    test = next(part for part in parts(dataset, plan) if part.name == "test")
    one = replace(plan.valid, least=1)
    few = int(one.counts(test.seen).sum()) <= HELD * int(test.seen.sum())
    if few and missed_users(dataset, plan) > MISSED * test.asked:
        plan = replace(plan, valid=one)
    share = round(min(MOST, test.pairs / (test.pairs + int(test.seen.sum()))), 2)
    if plan.race is None and share > plan.valid.amount:
        plan = replace(plan, race=replace(plan.valid, amount=share))
    return plan


def missed_users(dataset: Dataset, plan: SplitPlan) -> int:
    """How many users of the test have items enough for `plan.valid` to hold one out, which it does
    not; 0 without a test. Not under order time.
    """
    test = next((part for part in parts(dataset, plan) if part.name == "test"), None)
    if test is None:
        return 0
    return int((test.asks & (test.seen > 1) & (plan.valid.counts(test.seen) == 0)).sum())


def _parts_by_time(dataset: Dataset, plan: SplitPlan) -> list[Part]:
    """`parts` under order time, where a date decides and not the number of a user's items."""
    csr, when = dataset.interactions.csr, dataset.interactions.when
    masks = held_out(dataset, plan, 0)
    assert when is not None
    in_test = np.zeros(csr.nnz, bool) if masks.test is None else masks.test
    found = []

    def part(
        name: Literal["validation", "test"],
        seen: NDArray,
        rule: HoldOut | None,
        held: CSR,
        start: NDArray,
    ) -> Part:
        before = subset(csr, seen)
        strange_I = held.item_counts()[before.item_counts() == 0]
        strange, items = int(strange_I.sum()), int((strange_I > 0).sum())
        since = float(start.min()) if len(start) and rule is not None else None
        degrees = before.degrees(), held.degrees()
        return Part(name, *degrees, csr.n_items, rule, None, since, strange, items)

    if masks.test is not None:
        found.append(part("test", ~in_test, plan.test, subset(csr, in_test), when[in_test]))
    elif dataset.ready_test is not None:
        found.append(part("test", ~in_test, None, dataset.ready_test, when[:0]))
    rule = plan.valid if dataset.ready_valid is None else None
    held = subset(csr, masks.valid)
    found.append(part("validation", ~in_test & ~masks.valid, rule, held, when[masks.valid]))
    return found


def race_holds_out(dataset: Dataset, plan: SplitPlan) -> bool:
    """Whether fresh splits of train and validation (`recsys.split.resplit`) hold out anything."""
    if plan.order == "time":
        return _earlier_dates(dataset, plan)
    test = next((part for part in parts(dataset, plan) if part.name == "test"), None)
    search_U = dataset.interactions.csr.degrees() if test is None else test.seen
    counts_U = plan.fresh.counts(search_U)
    if plan.order == "latest":  # in a fresh split a history ends up to that many items earlier
        counts_U = np.where(counts_U > 0, plan.fresh.counts(search_U - counts_U), 0)
    return bool((counts_U > 0).any())


def _earlier_dates(dataset: Dataset, plan: SplitPlan) -> bool:
    """Whether the shortest history that a fresh split may leave can still be divided."""
    masks, when = held_out(dataset, plan, 0), dataset.interactions.when
    assert when is not None
    search = np.sort(when if masks.test is None else when[~masks.test])
    drop = int((search >= start_of(search, plan.fresh)).sum())
    if not 0 < drop < len(search):
        return False
    kept, rule = ends_earlier(search, plan.fresh, drop)
    start = start_of(search[kept], rule)
    return bool(search[0] < start <= search[kept][-1])


def _degrees(csr: CSR | None, like: CSR) -> NDArray[np.int64]:
    return np.zeros(like.n_users, np.int64) if csr is None else csr.degrees()


def _first(most: int, rule: HoldOut | None, before: HoldOut | None) -> int | None:
    """The fewest items of a user of which `rule` holds one out, after `before` took its share.

    None where there is no such number up to `most`, or up to the most that the rule may need.
    """
    assert rule is not None
    need = 2 / rule.amount if rule.kind == "ratio" else rule.amount + 2
    size = np.arange(1, int(min(max(most, need) * 2, 1 << 20)) + 1, dtype=np.int64)
    left = size if before is None else size - before.counts(size)
    enough = np.flatnonzero(rule.counts(left) > 0)
    return int(size[enough[0]]) if len(enough) else None
