"""What people want to know about data before a search: histograms, and what each split leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recsys.data import Dataset
from recsys.data.facts import Bin, histogram
from recsys.evidence import Part, parts, suited
from recsys.split import HoldOut, SplitPlan
from search.run.evidence import reach_words

WIDTH = 40  # characters of the longest bar
TENTH, FIFTH, ONE = HoldOut("ratio", 0.1), HoldOut("ratio", 0.2), HoldOut("fixed", 1)
DEFAULT = SplitPlan("random", TENTH, TENTH, by_default=True)
SINGLE = SplitPlan("random", ONE, ONE)
RULES = (
    ("a tenth and a tenth (the default)", DEFAULT),
    ("split.test.ratio=0.2", SplitPlan("random", FIFTH, TENTH, by_default=True)),
    ("split.test.fixed=1 split.valid.fixed=1", SINGLE),
    ("split.test=none", SplitPlan("random", None, TENTH, by_default=True)),
)
AT_LEAST_ONE = "a tenth, at least one of a user (the default)"  # where the test came with the data

# A split at one date for all users, for data with times.
BY_DATE = "split.order=time", SplitPlan("time", TENTH, TENTH)
# Fewer test users with a history than this show little.
ENOUGH = 200
# A tenth of each user asks nearly as many as one item of each does, from this share on.
NEARLY = 0.9
KEY = {"test": "test", "validation": "valid"}


def bar_of(encoding: str) -> str:
    """The character of bars: a block if `encoding` has it."""
    try:
        "\u2588".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "#"
    return "\u2588"


def overview(dataset: Dataset, bar: str) -> Iterator[str]:
    """Lines for a terminal. bar: the character of bars."""
    csr = dataset.interactions.csr
    yield ""
    yield from drawn("items of a user", "users", histogram(csr.degrees()), bar)
    yield ""
    yield from drawn("users of an item", "items", histogram(csr.item_counts()), bar)
    yield ""
    yield from split_lines(dataset)
    yield ""


def drawn(what: str, who: str, bins: Sequence[Bin], bar: str) -> Iterator[str]:
    """A histogram as lines; the longest bar has `WIDTH` characters, the shortest has 1.

    what: the name of the bins. who: the name of the counts. bar: the character of bars.
    """
    most, total = max(one.count for one in bins), sum(one.count for one in bins)
    wide = max(len(what), *(len(one.label) for one in bins))
    yield f"{what:>{wide}}  {who}"
    for one in bins:
        length = max(bool(one.count), round(WIDTH * one.count / most))
        share = f"{one.count / total:.1%}"
        yield f"{one.label:>{wide}}  {one.count:>10,} {share:>6}  {bar * length}".rstrip()


def split_lines(dataset: Dataset) -> Iterator[str]:
    """What each rule holds out and leaves, and which one to use."""
    head = ("--set", "train", "validation (users)", "test (users)")
    rows: list[tuple[str, ...]] = [head]
    seen: set[tuple[str, ...]] = set()
    dated = "time" in dataset.interactions.orders and dataset.ready_test is None
    dated = dated and not _of_one_moment(dataset)
    for name, asked in (*RULES, BY_DATE) if dated else RULES:
        plan = suited(dataset, asked)
        name = AT_LEAST_ONE if asked is DEFAULT and plan.valid.least else name
        found = {str(part.name): part for part in parts(dataset, plan)}
        train = f"{int(found['validation'].seen.sum()):,}"
        left = (train, _held(found["validation"]), _held(found.get("test")))
        if left not in seen:  # parts that came with the data are the same under every rule
            rows.append((name, *left))
        seen.add(left)
    wide = [max(len(row[n]) for row in rows) for n in range(len(head))]
    yield "what a split leaves, in positives:"
    for row in rows:
        cells = [row[0].ljust(wide[0]), *(row[n].rjust(wide[n]) for n in range(1, len(head)))]
        yield "  ".join(cells)
    test = {part.name: part for part in parts(dataset, SplitPlan())}.get("test")
    if test is not None and test.asked:
        yield f"with the {test.asked:,} test users of the default, {reach_words(test.asked)}"
    yield from _advice(dataset, dated)


def _of_one_moment(dataset: Dataset) -> bool:
    span = dataset.interactions.time_span
    return span is not None and span[0] == span[1]


def _advice(dataset: Dataset, dated: bool) -> Iterator[str]:
    """Which split to use, and why."""
    one_moment = _of_one_moment(dataset)
    if one_moment:
        yield "all rows have the same time: a split by time would just follow the order of the rows"
    amount = _amount(dataset)
    if one_moment or not dataset.interactions.ordered:
        if amount is not None:
            options = amount.options or "the default"
            what = f"{amount.what}, at random as no order of time is known"
            yield f"recommended: {options} ({what}): {amount.why}"
        return
    if dated:
        test = {part.name: part for part in parts(dataset, BY_DATE[1])}["test"]
        known = test.asked - test.unknown
        if known >= ENOUGH:
            yield (
                "recommended: --set split.order=time, one date for all users, as in real use: "
                "random and latest learn from days after those that they are tested on, and mostly "
                "flatter, the report of a search says by how much (of its "
                f"{test.asked:,} test users {known:,} were there before)"
            )
            return
        yield (
            "recommended: --set split.order=latest, the latest items of each user; by one date "
            f"(split.order=time) only {known:,} test users would have been there before"
        )
    else:
        yield (
            "the order of time is known: --set split.order=latest holds out the latest items of "
            "each user, which is what a recommender is asked for; random is mostly easier and then "
            "flatters (the report of a search says by how much)"
        )
    if amount is not None and amount.options:
        yield f"with it {amount.options} ({amount.what}): {amount.why}"


@dataclass(frozen=True)
class _Amount:
    """How much of each user to hold out. options: of a search; empty for the default. what, why:
    what they hold out and for which reason, as parts of a sentence.
    """

    options: str
    what: str
    why: str


def _amount(dataset: Dataset) -> _Amount | None:
    """How much of each user to hold out, by how many users have few items; None where nothing is
    drawn, or nothing can be held out.
    """
    tenth, one = _drawn(dataset, DEFAULT), _drawn(dataset, SINGLE)
    if not tenth:
        return None
    by_tenth, by_one = (min(part.asked for part in found) for found in (tenth, one))
    names = " and ".join(part.name for part in tenth)
    at_least = ", at least one," if suited(dataset, DEFAULT).valid.least else ""
    if by_tenth and by_tenth >= NEARLY * by_one:
        return _Amount(
            "",
            f"a tenth of each user's items{at_least} for {names}",
            f"each part has {by_tenth:,} users or more, measured by several items where they have "
            f"many (with one item of each: {by_one:,} users)",
        )
    if by_one:
        first, need = one[-1].first, tenth[-1].first
        those = f", those with {need:,} items or more" if by_tenth and need else ""
        keeps = f"; a user with {first} items keeps one to learn from" if first else ""
        return _Amount(
            " ".join(f"--set split.{KEY[part.name]}.fixed=1" for part in one),
            f"one item of each user for {names}",
            f"each part has {by_one:,} users or more (with a tenth: {by_tenth:,}{those}){keeps}",
        )
    alone = _drawn(dataset, SplitPlan("random", None, ONE))
    if len(tenth) == 1 or not alone[0].asked:
        return None
    return _Amount(
        "--set split.test=none --set split.valid.fixed=1",
        "one item of each user for validation and no test",
        f"no user has items enough for both; {alone[0].asked:,} users have two or more",
    )


def _drawn(dataset: Dataset, plan: SplitPlan) -> list[Part]:
    """The parts of a split that did not come with the data."""
    return [part for part in parts(dataset, suited(dataset, plan)) if part.rule is not None]


def _held(part: Part | None) -> str:
    return "none" if part is None else f"{part.pairs:,} ({part.asked:,})"
