"""What a search can show on given data and a split, said before it begins; refused if that is
nothing.

A number that no trial can change, or that a handful of users decide, looks like any other at the
end of a run. So the user is told at its beginning, in one line each, with the option that helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from recsys.data import Dataset
from recsys.data.ratings import RATED
from recsys.errors import InputError
from recsys.evidence import Part, missed_users, parts, race_holds_out, suited
from recsys.metrics import Metric, parse_metric
from recsys.moments import moment
from recsys.split import HoldOut, SplitPlan
from search.record.result import Newcomers
from search.space.spec import SearchSpec
from search.stats import LEAST_USERS, expected_reach
from search.summary import newcomer_words
from search.words import counted

# The better of two configs or methods is ahead by about this much (docs/experiments.md): a test
# that cannot tell such gaps from chance decides little.
TELLING = 0.02
_ONE = HoldOut("fixed", 1)


class SettingError(InputError):
    """Data on which a search could show something only with the setting that the message names."""


def check_evidence(dataset: Dataset, spec: SearchSpec) -> list[str]:
    """Lines for the user about what `spec` can measure on `dataset`.

    Raises InputError where neither an honest number nor a submission could come of the search, and
    SettingError, which is one, where another setting of the space would help; the message says
    which.
    """
    plan = spec.split
    lines = evidence(dataset, plan, parse_metric(spec.metric))
    if not spec.is_table:
        lines += _submission(dataset, spec.k)
        if spec.race.finalists and not race_holds_out(dataset, plan):
            raise SettingError(
                f"{_name(dataset)}: the race splits train and validation again, and with "
                f"{plan.fresh} no user would have a validation item: --set race=none"
                + _or_fixed(dataset, plan)
            )
    return lines


def fit_split(spec: SearchSpec, dataset: Dataset, note: Callable[[str], None]) -> SearchSpec:
    """The space, with the validation and the race that suit a test which came with the data.

    note: called with a line where these are others than its defaults.
    """
    plan, before = suited(dataset, spec.split), spec.split
    races = bool(spec.race.finalists) and not spec.is_table
    if not races:
        plan = replace(plan, race=before.race)
    said = []
    if plan.valid != before.valid:
        missed = counted(missed_users(dataset, before), "test user")
        said.append(
            "validation holds out at least one item of each user: by "
            f"{before.valid} alone, {missed} would have none"
        )
    if plan.race != before.race:
        said.append(f"the race holds out {plan.fresh.amount:.0%} of a user's items")
    if said:
        asked = f"--set split.valid.ratio={before.valid.amount:g}"
        note(f"{'; '.join(said)} (not with {asked})")
    return replace(spec, split=plan)


def evidence(dataset: Dataset, plan: SplitPlan, metric: Metric | None = None) -> list[str]:
    """Lines about the held-out parts of a split. InputError where a part can show nothing."""
    held = parts(dataset, plan)
    for part in held:
        _refuse(dataset, plan, part, metric)
    helped = _more_users(dataset, plan, held)
    lines: list[str] = []
    for part in held:
        lines += _part_lines(part, metric, helped)
        if lines:
            helped = ""  # only in the first of the lines
    return lines


def default_evidence(dataset: Dataset) -> list[str]:
    """The same lines for the command `data`, with the default split of spaces."""
    try:
        plan = suited(dataset, SplitPlan(by_default=True))
        return evidence(dataset, plan) + _submission(dataset, 0)
    except InputError as error:
        return [f"note: a search would refuse this: {error}"]


def _refuse(dataset: Dataset, plan: SplitPlan, part: Part, metric: Metric | None) -> None:
    """Raise InputError where the value on `part` would measure nothing."""
    name = _name(dataset)
    if dataset.interactions.n_items == 1:
        raise InputError(f"{name}: has one item only: there is nothing to choose from")
    if not part.holding and part.rule is not None:
        raise _empty(dataset, plan, part)
    if not part.asked:
        if _nothing_left(dataset):
            raise InputError(f"{name}: {_every_item(dataset)}")
        perfect = (
            f"{name}: none of {counted(part.holding, 'user')} with {part.name} items has another "
            "item left to rank, so every order is perfect: expected users who lack more items "
            "than are held out"
        )
        if part.name == "test":
            raise SettingError(f"{perfect} (or --set split.test=none)")
        raise InputError(perfect)
    if part.unknown == part.asked and part.since is not None:
        raise SettingError(
            f"{name}: none of the {part.asked:,} users with {part.name} items has any from before "
            f"{moment(part.since)}, so nothing is known about them: expected users who come back, "
            "or use --set split.order=latest"
        )
    if part.unknown == part.asked:
        raise InputError(
            f"{name}: none of the {part.asked:,} users of the {part.name} part is in train: "
            "nothing can be learned about them, expected the same users, spelled the same way (or "
            f"leave the {part.name} file out: then a part of train is held out)"
        )
    if metric is not None and part.certain(metric) == part.asked:
        raise SettingError(
            f"{name}: {metric.name} is the same in every order, as no {part.name} user has more "
            f"items left to rank than fit into the list: --set metric=ndcg@{metric.k}, or a "
            "smaller k"
        )


def _part_lines(part: Part, metric: Metric | None, helped: str) -> Iterator[str]:
    """What is odd about the users who decide the value on one part. helped: what to do if they are
    few, as the end of a sentence.
    """
    users = len(part.held)
    if part.holding > part.asked:
        alone = part.holding - part.asked
        yield (
            f"note: {part.name}: {alone:,} of {counted(part.holding, 'user')} with held-out items "
            f"{have(alone)} no other item left to rank: they prove nothing and are left out"
        )
    if part.since is not None:
        yield f"note: {newcomer_words(_newcomers(part))}"
    elif part.unknown:
        yield (
            f"note: {part.name}: {part.unknown:,} of {counted(part.asked, 'user')} with held-out "
            "items are not in train: nothing is known about them, and all get the same list; "
            f"expected users who are in train (or leave the {part.name} file out: then a part of "
            "train is held out)"
        )
    if metric is not None and (certain := part.certain(metric)):
        yield (
            f"note: {part.name}: for {certain:,} of {counted(part.asked, 'user')} {metric.name} is "
            "the same in every order, as all their items fit into the list"
        )
    if part.asked * 2 < users or expected_reach(part.asked) > TELLING:
        beside = " and others left to rank" if part.holding > part.asked else ""
        with_first = f" (those with {part.first:,} or more)" if part.first else ""
        yield (
            f"note: {part.name}: {part.asked:,} of {counted(users, 'user')} "
            f"{have(part.asked)} held-out items{beside}{with_first}: "
            f"{reach_words(part.asked)}{helped}"
        )


def newcomers(dataset: Dataset, plan: SplitPlan) -> list[Newcomers]:
    """The new users and items of each part that begins at a date, the test first."""
    if plan.order != "time":
        return []
    return [_newcomers(part) for part in parts(dataset, plan) if part.since is not None]


def _newcomers(part: Part) -> Newcomers:
    assert part.since is not None
    return Newcomers(
        part=part.name,
        since=moment(part.since),
        users=part.holding,
        new_users=part.unknown,
        pairs=part.pairs,
        new_pairs=part.strange,
        new_items=part.new_items,
    )


def have(users: int) -> str:
    """`has` or `have`, as fits the number of users."""
    return "has" if users == 1 else "have"


def reach_words(users: int) -> str:
    """What a comparison over so many users can show, as the end of a sentence."""
    if users < LEAST_USERS:
        return "too few to prove any difference, however large"
    return f"differences below about {expected_reach(users):.1g} cannot be proven"


# --- what to do about it ----------------------------------------------------------------------


def _empty(dataset: Dataset, plan: SplitPlan, part: Part) -> InputError:
    """The error for a part without any user, with what to do about it."""
    empty = f"{_name(dataset)}: the {part.name} part would be empty with {part.rule}"
    if plan.order == "time":
        return InputError(f"{empty}{_span(dataset)}")
    if part.first is not None:
        empty += f": expected a user with at least {part.first} items"
    if found := _more_users(dataset, plan, parts(dataset, plan)):
        return SettingError(f"{empty}{found}")
    most = int(dataset.interactions.csr.degrees().max(initial=0))
    if plan.test is not None and most == 2 and dataset.ready_test is None:
        return SettingError(
            f"{empty}; --set split.test=none --set split.valid.fixed=1 holds out one of two, "
            "without a test"
        )
    return InputError(
        f"{empty}; no user has more than {counted(most, 'item')}, so nothing can be held out"
    )


def _span(dataset: Dataset) -> str:
    """The first and the last time of the data, as the end of a sentence."""
    span = dataset.interactions.time_span
    return "" if span is None else f": the times go from {moment(span[0])} to {moment(span[1])}"


def _or_fixed(dataset: Dataset, plan: SplitPlan) -> str:
    if plan.order == "time":
        return ""
    one = SplitPlan(plan.order, plan.test, _ONE)
    works = plan.valid != _ONE and race_holds_out(dataset, one)
    return " or --set split.valid.fixed=1" if works else ""


def _more_users(dataset: Dataset, plan: SplitPlan, held: Iterable[Part]) -> str:
    """The options to hold out one item per user, as the end of a sentence; empty where that would
    not include more users than the parts in `held` do.
    """
    if plan.order == "time":  # where a date decides who is included
        return ""
    one = SplitPlan(plan.order, None if plan.test is None else _ONE, _ONE)
    new = {part.name: part for part in parts(dataset, one) if part.rule is not None}
    if not all(part.asked for part in new.values()):
        return ""
    old = {part.name: part for part in held}
    gains = [name for name, part in new.items() if part.asked > old[name].asked]
    options = " ".join(
        f"--set split.{'valid' if name == 'validation' else name}.fixed=1"
        for name, part in new.items()
        if gains and old[name].rule != _ONE
    )
    if not options:
        return ""
    first = next(iter(new.values()))
    counts = ", ".join(f"{part.asked:,} in {name}" for name, part in new.items())
    who = f"every user with {first.first} or more" if first.first else "more users"
    return f"; {options} includes {who} ({counts})"


# --- the submission ---------------------------------------------------------------------------


def _submission(dataset: Dataset, k: int) -> list[str]:
    """Lines about the submission's lists of k items. Raises InputError if all would be empty."""
    free_S = _free_of_receivers(dataset)
    users = len(free_S)
    if _nothing_left(dataset):
        raise InputError(f"{_name(dataset)}: {_every_item(dataset)}")
    if users and not (free_S > 0).any():
        raise InputError(
            f"{_name(dataset)}: each of the {users:,} users whom the submission is for has every "
            "item, so it would be empty: expected users who have some of the items, not all"
        )
    lines = []
    if none := int((free_S == 0).sum()):
        lines.append(
            f"note: {none:,} of {counted(users, 'user')} {have(none)} every item: nothing is left "
            f"to recommend, so {counted(none, 'row')} of the submission will be empty"
        )
    if short := int(((free_S > 0) & (free_S < k)).sum()):
        lines.append(
            f"note: {short:,} of {counted(users, 'user')} {have(short)} fewer than {k:,} items "
            f"left: {counted(short, 'row')} of the submission will be shorter"
        )
    return lines


def _free(dataset: Dataset) -> np.ndarray:
    """How many items each user has in no part of the data, int64 (U,)."""
    csr = dataset.interactions.csr
    test = dataset.ready_test
    return csr.n_items - csr.degrees() - (0 if test is None else test.degrees())


def _free_of_receivers(dataset: Dataset) -> np.ndarray:
    """The same for the S users of the submission, int64 (S,); for unknown users all items."""
    free_U, who = _free(dataset), dataset.receivers
    if who is None:
        return free_U
    free_S = np.full(len(who), dataset.interactions.n_items)
    free_S[who.codes >= 0] = free_U[who.known]
    return free_S


def _nothing_left(dataset: Dataset) -> bool:
    return not (_free(dataset) > 0).any()


def _every_item(dataset: Dataset) -> str:
    data = dataset.interactions
    who = "the only user has" if data.n_users == 1 else f"each of the {data.n_users:,} users has"
    rated = any(RATED in note for note in data.notes)
    help_ = (
        "if not every row is a positive, --min-rating sets the least rating that is one"
        if rated
        else "expected users who have some of the items, not all"
    )
    return (
        f"{who} every one of the {data.n_items:,} items, so nothing is left to rank or to "
        f"recommend: {help_}"
    )


def _name(dataset: Dataset) -> str:
    return dataset.interactions.name
