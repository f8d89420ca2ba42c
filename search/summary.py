"""A run's result in words, for the terminal, the report and MLflow alike.

Any field of the result may be missing, since runs that were interrupted or failed are described
too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from recsys.errors import ConfigError
from recsys.models import config_from_flat
from search.paste import command
from search.record.folder import REPORT
from search.record.handed import SUBMISSION
from search.record.result import (
    BlendMember,
    BlendResult,
    Comparison,
    Group,
    Interval,
    Newcomers,
    RunResult,
)
from search.words import (
    LEAK,
    Row,
    baseline_name,
    config_line,
    counted,
    duration,
    interval,
    is_interval,
    level,
    number,
    percent,
)

LEAST_TO_NAME = 6  # users that a group needs to be named as the worst served


def test_words(result: RunResult) -> str:
    """The winner's test value with its interval and the number of users."""
    return tested_words(result.test, result.test_ci, result.test_users)


def tested_words(value: float | None, ci: Interval | None, users: int | None) -> str:
    """A test value with its interval and the number of users."""
    if value is None:
        return "not measured"
    between = interval(ci)
    who = counted(users, "user") if users is not None else ""
    if who and not between and is_interval(ci):
        who = f"the same for every one of the {who}"
    inside = ", ".join(part for part in (f"95% interval {between}" if between else "", who) if part)
    return number(value) + (f" ({inside})" if inside else "")


def beside_words(result: RunResult, on: Literal["test", "valid"] = "test") -> str:
    """The baselines' values on test or validation, best last: `popularity 0.0690, EASE 0.1720`."""
    known = [(getattr(b, on), baseline_name(name)) for name, b in result.baselines.items()]
    pairs = sorted((value, name) for value, name in known if value is not None)
    return ", ".join(f"{name} {number(value)}" for value, name in pairs)


def gain_words(result: RunResult) -> list[str]:
    """What the race says about the winner, one sentence each."""
    words = [c.words for c in result.race.comparisons if c.words]
    if result.race.winner_is_default:
        words.append(f"the winner is the first default config{_nothing_better(result)}")
    return [*words, *(c.words for c in result.test_comparisons)]


def group_name(kind: str, group: Group) -> str:
    """`users with 3 to 9 items`, `items with 1 user`; kind: what the group consists of, `user` or
    `item`.

    A group of count 0: `users without a history`, `items that nobody had`.
    """
    if group.high == 0:
        return "users without a history" if kind == "user" else "items that nobody had"
    other = "item" if kind == "user" else "user"
    if group.low == group.high:
        return f"{kind}s with {counted(group.low, other)}"
    return f"{kind}s with {group.low:,} to {counted(group.high, other)}"


def fails_words(result: RunResult) -> str:
    """Which users and which items the model serves worst, in one sentence; empty where that is not
    known, or where there is only one group.
    """
    groups = result.groups
    if groups is None:
        return ""
    said = []
    if (one := _worst(groups.by_user)) is not None:
        between = f", 95% interval {found}" if (found := interval(one.ci)) else ""
        inside = f"{result.metric} {number(one.value)}{between}, {counted(one.users, 'user')}"
        said.append(f"{group_name('user', one)} ({inside}{_ahead(one, number)})")
    # a new item can't be recommended by any model
    if (one := _worst([group for group in groups.by_item if group.high])) is not None:
        inside = f"{percent(one.value)} of the test items among them are in the lists of {groups.k}"
        said.append(f"{group_name('item', one)} ({inside}{_ahead(one, percent)})")
    return f"the {groups.model} serves worst: {' and '.join(said)}" if said else ""


def _worst(groups: Sequence[Group]) -> Group | None:
    """The group with the lowest value; None where there are not two groups to compare."""
    known = [one for one in groups if one.users >= LEAST_TO_NAME and one.value is not None]
    if len(known) < 2:
        return None
    return min(known, key=lambda one: one.value or 0.0)


def _ahead(group: Group, shown: Callable[[Any], str]) -> str:
    """`; EASE 0.0500, proven better`: the best rival in a group, as the end of a bracket."""
    known = {name: one for name, one in group.rivals.items() if one.value is not None}
    if not known:
        return ""
    name = max(known, key=lambda rival: known[rival].value or 0.0)
    one = known[name]
    better = ", proven better" if one.proven and (one.gain or 0.0) < 0 else ""
    return f"; {baseline_name(name)} {shown(one.value)}{better}"


def blend_rows(result: RunResult) -> list[Row]:
    """The blend: what it is made of and what each part reached alone, what it reaches, and whether
    it was handed over.
    """
    blend = result.blend
    if blend is None:
        return []
    lines = [
        member_words(one) + ("" if one.mean is None else f", alone {number(one.mean)}")
        for one in blend.members
    ]
    if blend.mean is not None:
        lines.append(
            f"together {number(blend.mean)}, under weights that others chose ({result.metric} in "
            "the race)"
        )
    rows = [("blend" if not at else "", line) for at, line in enumerate(lines)]
    return [*rows, *_reached_rows(result, blend)]


def member_words(member: BlendMember) -> str:
    """`0.36 of t0012 slim k=200 l2=200`."""
    return f"{member.weight:.2f} of {member.id} {member.label}".rstrip()


def _reached_rows(result: RunResult, blend: BlendResult) -> list[Row]:
    """What the blend reaches on the test, its gains, and whether it was handed over."""
    rows: list[Row] = []
    if blend.test is not None:
        between = interval(blend.test_ci)
        inside = f" (95% interval {between})" if between else ""
        rows.append(("", f"test {result.metric} {number(blend.test)}{inside}"))
    told = [blend.comparison, *blend.test_comparisons]
    rows += [("gain", one.words) for one in told if one is not None]
    if result.refit_of is not None:
        whose = f"the blend's, as in {result.refit_of.run}"
    elif blend.handed_over:
        whose = "the blend's, since it is proven better than the winner alone"
    elif blend.failed is not None:
        whose = f"the winner's: {lost_words(blend.failed, tested=blend.test is not None)}"
    else:
        whose = "the winner's, since the blend is not proven better"
    return [*rows, ("submission", f"is {whose}")]


def lost_words(failed: str, *, tested: bool = False) -> str:
    """Why the winner alone is handed over, not the blend that was to be.

    failed: what could not be trained, and why. tested: whether the blend was.
    """
    return f"the blend is proven better{' and was tested' if tested else ''}, but {failed}"


def blend_words(result: RunResult) -> list[str]:
    """What the blend reaches and what came of it, one sentence each."""
    rows = [] if result.blend is None else _reached_rows(result, result.blend)
    names = {"": "the blend reaches ", "submission": "the submission "}
    return [names.get(label, "") + text for label, text in rows]


def _nothing_better(result: RunResult) -> str:
    """What it means that the winner is the first default config, as the end of a sentence."""
    only = result.configs == 1
    return ", the only config that was tried" if only else ": the search found nothing better"


def counts_words(result: RunResult) -> str:
    """`64 trials: 20 completed, 43 pruned, 1 failed`."""
    counts = result.trials.model_dump()
    total = sum(counts.values())
    parts = [f"{n} {state}" for state, n in counts.items() if n]
    configs = result.configs or 0
    different = f" of {counted(configs, 'different config')}" if 0 < configs < total else ""
    return counted(total, "trial") + different + (f": {', '.join(parts)}" if parts else "")


def result_rows(
    result: RunResult, folder: Path, commands: Sequence[str] | None = None
) -> list[Row]:
    """The final summary as (label, text) rows. commands: what to run next; None:
    `next_commands`.
    """
    metric = result.metric or "metric"
    rows: list[Row] = []
    if result.refit_of is not None:
        then = result.refit_of
        rows.append(("refit", f"of run {then.run} on {result.data}: no search was made"))
        if then.blend_failed is not None:
            rows.append(("", f"of its winner alone, not of its blend: {then.blend_failed}"))
    if result.leaky:
        rows.append(("WARNING", LEAK))
    if not result.is_table:
        if result.best_trial and not result.won_by_leak:
            # a model without epochs has 1
            at = f", {result.best_epoch} epochs" if (result.best_epoch or 0) > 1 else ""
            params = config_line(result.best_params or result.best_config)
            rows.append(("winner", f"{result.best_trial}{at}: {params}"))
        rows.append(("validation", f"{metric} {number(result.valid)}{_where_valid(result)}"))
        tested = test_words(result)
        rows.append(("test", tested if tested == "not measured" else f"{metric} {tested}"))
        if beside := beside_words(result):
            rows.append(("rivals", f"{beside} on the same test items"))
        elif beside := beside_words(result, "valid"):  # a refit without test items
            rows.append(("rivals", f"{beside} on the same validation items"))
        rows += [("gain", words) for words in gain_words(result)]
        if fails := fails_words(result):
            rows.append(("fails", fails))
        rows += blend_rows(result)
    if result.split:
        rows.append(("split", result.split))
    if order := order_words(result):
        rows.append(("", order))
    busy = result.busy_fraction
    spent = f", cores busy {busy:.0%}" if busy is not None else ""
    rows.append(("time", f"{duration(result.wall_s)}, {counts_words(result)}{spent}"))
    rows += [
        ("file", str(folder / name)) for name in (REPORT, SUBMISSION) if (folder / name).exists()
    ]
    ready = (folder / SUBMISSION).exists()
    rows += [("next", line) for line in commands or next_commands(folder, ready, result.may_extend)]
    return rows


ORDER_WORDS = {
    "random": "at random",
    "latest": "by each user's latest items",
    "time": "by one date",
}
CLOSEST_FIRST = ("time", "latest", "random")  # orders, by how close they are to a model in use


def order_words(result: RunResult) -> str:
    """How far the winner's config is ahead of popularity on test items of each order of the split,
    with the run's order first, and how much each flatters, in one sentence; or why that was not
    measured. Empty where there is nothing to say.
    """
    if why := result.split_orders_skipped:
        return f"what other orders of the split would show was not measured: {why}"
    found = result.split_orders or {}
    if len(found) < 2:
        return ""
    own = result.split_order
    orders = sorted(found, key=lambda order: (order != own, list(ORDER_WORDS).index(order)))
    said = []
    for order in orders:
        split, shows = f"a split {ORDER_WORDS[order]}", "would have shown"
        if order == own:
            split, shows = f"this split, {ORDER_WORDS[order]},", "shows"
        said.append(f"{split} {shows if own else 'shows'} {_lead_words(result, order)}")
    return "; ".join([*said, *_flattering(result)])


def _flattering(result: RunResult) -> Iterator[str]:
    """By how much the winner's value is higher by an easier order of the split than by that which
    is closest to use, one sentence each; nothing where that value is 0.
    """
    found = {order: mine for order, (mine, _) in (result.split_orders or {}).items()}
    closest = next((order for order in CLOSEST_FIRST if found.get(order) is not None), None)
    if closest is None or level(base := found.pop(closest) or 0.0):
        return
    for order, value in found.items():
        if value is not None:
            more = value / base - 1
            way, said = "lower", "here it does not flatter"
            if more > 0:
                way, said = "higher", "so much it flatters"
            yield (
                f"the winner's {result.metric} is {abs(more):.0%} {way} "
                f"{ORDER_WORDS[order]} than {ORDER_WORDS[closest]}: {said}"
            )


def _lead_words(result: RunResult, order: str) -> str:
    """`0.94 x popularity (map@10 0.0730 against 0.0780, without new users)`."""
    mine, theirs = (result.split_orders or {})[order]
    new = order == "time" and any(n.part == "test" and n.new_users for n in result.newcomers)
    inside = f"{result.metric} {number(mine)} against {number(theirs)}"
    inside += ", without new users" if new else ""
    if mine is None or theirs is None or level(theirs):
        return inside.replace("against", "against popularity's")
    return f"{mine / theirs:.2f} x popularity ({inside})"


def newcomer_words(one: Newcomers) -> str:
    """The users and items first seen after a date, as `test: from 1998-04-01 on, ...`."""
    said = [
        f"{one.part}: from {one.since} on, {counted(one.pairs, 'interaction')} of "
        f"{counted(one.users, 'user')}"
    ]
    if one.new_users:
        are = "is" if one.new_users == 1 else "are"
        said.append(f"{one.new_users:,} of them {are} new, and all of these get the same list")
    elif one.users:
        said.append("none of these users is new")
    if one.new_pairs:
        said.append(
            f"{one.new_pairs / one.pairs:.1%} of the interactions are with "
            f"{counted(one.new_items, 'new item')}, which no model can recommend"
        )
    elif one.pairs:
        said.append("all of the items were there before")
    return "; ".join(said)


def _where_valid(result: RunResult) -> str:
    """Where the validation value comes from, as the end of a line."""
    if result.refit_of is not None:
        before = number(result.refit_of.valid)
        return f" ({before} in that run, on its own items, as the best of many)"
    return ", in the search (leaky: no winner)" if result.won_by_leak else ", in the search"


def next_commands(folder: Path, ready: bool = True, extend: bool = True) -> list[str]:
    """Commands that the user may want to run next.

    ready: whether the run has a submission. extend: whether it can have more trials.
    """
    commands = [command("ui", folder)]
    if ready and extend:
        commands.append(command("--run", folder, "--extend", "20"))
    if ready:
        commands.append(command("export", folder, "-o", SUBMISSION))
    return commands


def winner_label(result: RunResult) -> str:
    """The winner's method with the parameters that say most of it, `slim k=200 l2=200`; empty where
    it is not known, or its config is from another version.
    """
    if result.best_config is None:
        return ""
    try:
        return config_from_flat(dict(result.best_config)).label()
    except ConfigError:
        return ""


def winner_words(result: RunResult) -> str:
    """`slim k=200 l2=200 (t0001)`; only the trial where its config is not known."""
    label = winner_label(result)
    return f"{label} ({result.best_trial})" if label else str(result.best_trial)


def headline(result: RunResult) -> str:
    """The result in one or two sentences."""
    metric = result.metric or "the metric"
    if result.is_table:
        return (
            f"A table of named configs, each measured in {metric} on validation and on test; "
            "no winner is chosen."
        )
    if result.refit_of is not None:
        return _refit_headline(result)
    if not result.best_trial:
        return "No honest trial has a value yet: there is nothing to compare."
    if result.test is None:
        return (
            f"The best config so far, {winner_words(result)}, reaches {metric} "
            f"{number(result.valid)} on validation. The test items have not been looked at."
        )
    first = f"{winner_words(result)} reaches {metric} {test_words(result)} on the test items"
    end = ""
    if result.race.winner_is_default:
        end = f" It is the first default config{_nothing_better(result)}."
    elif lead := _lead(result.race.comparisons):
        end = f" {lead}"
    if (blend := result.handed_blend) is not None:
        reached = number(blend.test)
        count = counted(len(blend.members), "finalist")
        end += f" A blend of {count}, proven better, is handed over: it reaches {reached}."
    elif result.blend is not None and result.blend.failed is not None:
        count = counted(len(result.blend.members), "finalist")
        end += f" A blend of {count}, proven better, could not be trained: "
        end += "the winner alone is handed over."
    return f"{first}{_against(result, result.test)}.{end}"


def _refit_headline(result: RunResult) -> str:
    """The result of a refit, in one or two sentences."""
    then, metric = result.refit_of, result.metric or "the metric"
    assert then is not None
    where, value = ("test", test_words(result)) if result.test is not None else (
        "validation", number(result.valid)
    )  # fmt: skip
    blend = result.handed_over.name
    who = f"{winner_words(result) if blend is None else f'A {blend}'}, the winner of {then.run} "
    who += f"trained again on {result.data},"
    beside = _against(result, result.test) if result.test is not None else ""
    first = f"{who} reaches {metric} {value} on the {where} items{beside}."
    c = then.comparison
    if c is None or c.gain is None:
        return f"{first} Nothing can be said about what the new data changed."
    if level(c.gain) or not c.proven:
        same = "config" if blend is None else "blend"
        other = f"the same {same} trained on the data of {then.run}"
        return f"{first} It cannot be told apart from {other}."
    change = "gain" if c.gain > 0 else "loss"
    return f"{first} The {change} of {number(abs(c.gain))} by the new data is proven."


def _lead(found: Sequence[Comparison]) -> str:
    """The winner's lead over the first default config, or over the runner-up if there is no
    default, in a sentence.
    """
    of_default = [c for c in found if "default" in c.name]
    one = next(iter(of_default or found), None)
    if one is None:
        return ""
    rival = one.name or one.against
    if one.gain is None:
        return f"Nothing can be said about its lead over {rival}."
    if level(one.gain):
        return f"It and {rival} are level."
    proven = "is proven" if one.proven else "is not proven"
    what, against = ("gain", "over") if one.gain > 0 else ("loss", "against")
    return f"Its {what} of {number(abs(one.gain))} {against} {rival} {proven}."


def _against(result: RunResult, test: float) -> str:
    """`, above popularity (0.0690) and not told apart from EASE (0.1720)`, and who could not be
    tested.

    If the test compared them user by user, that decides; otherwise whether the rival's value lies
    in the interval of the winner's. Without an interval it is empty.
    """
    known = result.test_ci if interval(result.test_ci) else None
    low, high = (test if end is None else end for end in known or (test, test))
    compared = {c.against: c for c in result.test_comparisons}
    parts = []
    for name, baseline in result.baselines.items():
        value = baseline.test
        if value is None:
            continue
        if name in compared:
            above = (compared[name].gain or 0.0) > 0
            place = "above" if above else "below"
            place = place if compared[name].proven else "not told apart from"
        elif low == high:
            place = "next to"
        else:
            place = "above" if value < low else "below" if value > high else "close to"
        parts.append(f"{place} {baseline_name(name)} ({number(value)})")
    beside = ", " + " and ".join(parts) if parts else ""
    failed = [
        f"; {baseline_name(name)} is not tested ({one.skipped})"
        for name, one in result.baselines.items()
        if one.skipped
    ]
    return beside + "".join(failed)
