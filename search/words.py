"""A run's result in words and short numbers, for the terminal and for the report alike.

Everything here reads `result.json` as a mapping in which any key may be missing, because a run
that was interrupted or failed is described too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.paste import command

Row = tuple[str, str]
BASELINE_NAMES = {"ease": "EASE"}
LEAK = (
    "Validation items were kept out of the negatives (negatives_exclude: all). The model is pushed "
    "away from every unseen item except the ones it is measured on, so these validation numbers "
    "are too high and choose worse models. They are shown for comparison and can't win."
)


def number(value: Any, digits: int = 4) -> str:
    """A metric value with `digits` decimals, `-` where there is none; never -0.0000."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def level(value: Any) -> bool:
    """Whether a difference is nothing in the four decimals that are shown."""
    return number(value) == "0.0000"


def counted(n: int, what: str) -> str:
    """`1 trial`, `4,000 trials`: a number with its noun."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def short(value: Any) -> str:
    """A parameter's value in few characters: four significant digits for a float."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def duration(seconds: float | None) -> str:
    """`42s`, `3m 05s`, `2h 07m`.

    >>> duration(185)
    '3m 05s'
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def config_line(params: Mapping[str, Any] | None) -> str:
    """`lr=0.0213 margin=1.2`."""
    return " ".join(f"{name}={short(value)}" for name, value in (params or {}).items())


def baseline_name(name: str) -> str:
    """How a baseline is written in a sentence."""
    return BASELINE_NAMES.get(name.lower(), name)


def of_metric(value: Any, metric: str) -> float | None:
    """The number of `metric` in a value that is one, or a mapping of metrics."""
    if isinstance(value, Mapping):
        value = value.get(metric)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def leaky_result(result: Mapping[str, Any]) -> bool:
    """Whether any trial of the run kept held-out items out of its negatives."""
    excludes = result.get("negatives_exclude")
    return "all" in ([excludes] if isinstance(excludes, str) else excludes or [])


def leaky_params(params: Mapping[str, Any] | None) -> bool:
    """The same of one config or one trial's parameters."""
    return (params or {}).get("negatives_exclude") == "all"


def interval(ci: Any) -> str:
    """`0.1601 to 0.1770`; empty where there is none, or but a point."""
    if not is_interval(ci) or ci[0] == ci[1]:
        return ""
    return f"{number(ci[0])} to {number(ci[1])}"


def is_interval(ci: Any) -> bool:
    """Whether both ends of an interval are known, were they but one point."""
    return isinstance(ci, Sequence) and len(ci) == 2 and "-" not in map(number, ci)


def test_words(result: Mapping[str, Any]) -> str:
    """The test value with its interval and the number of users."""
    if result.get("test") is None:
        return "not measured"
    ci, users = result.get("test_ci"), result.get("test_users")
    between = interval(ci)
    who = counted(users, "user") if isinstance(users, int) else ""
    if who and not between and is_interval(ci):
        who = f"the same for every one of the {who}"
    inside = ", ".join(part for part in (f"95% interval {between}" if between else "", who) if part)
    return number(result["test"]) + (f" ({inside})" if inside else "")


def beside_words(result: Mapping[str, Any], which: str) -> str:
    """The baselines' values, best last: `popularity 0.0690, EASE 0.1720`."""
    metric = str(result.get("metric", ""))
    known = [
        (of_metric(row.get(which), metric), baseline_name(name))
        for name, row in (result.get("baselines") or {}).items()
        if isinstance(row, Mapping)
    ]
    pairs = sorted((value, name) for value, name in known if value is not None)
    return ", ".join(f"{name} {number(value)}" for value, name in pairs)


def comparisons(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The winner's comparisons of the race."""
    race = result.get("race")
    found = race.get("comparisons") if isinstance(race, Mapping) else None
    return list(found or [])


def gain_words(result: Mapping[str, Any]) -> list[str]:
    """What the race says about the winner, one sentence each."""
    race = result.get("race") or {}
    words = [str(c["words"]) for c in comparisons(result) if c.get("words")]
    if race.get("winner_is_default"):
        words.append(f"the winner is the first default config{_nothing_better(result)}")
    words += [str(c["words"]) for c in result.get("test_comparisons") or []]
    return words


def _nothing_better(result: Mapping[str, Any]) -> str:
    """What it means that the winner is the first default config."""
    alone = result.get("configs") == 1
    return ", the only config that was tried" if alone else ": the search found nothing better"


def counts_words(result: Mapping[str, Any]) -> str:
    """`64 trials: 20 completed, 43 pruned, 1 failed`."""
    counts = result.get("trials") or {}
    parts = [f"{counts[s]} {s}" for s in ("completed", "pruned", "failed") if counts.get(s)]
    total = sum(v for v in counts.values() if isinstance(v, int))
    configs = result.get("configs")
    some = isinstance(configs, int) and 0 < configs < total
    different = f" of {counted(configs, 'different config')}" if some else ""  # type: ignore[arg-type]
    return counted(total, "trial") + different + (f": {', '.join(parts)}" if parts else "")


def result_rows(
    result: Mapping[str, Any], folder: Path, commands: Sequence[str] | None = None
) -> list[Row]:
    """The final summary as (label, text) rows; `commands`: what to run next."""
    metric = str(result.get("metric", "metric"))
    rows: list[Row] = []
    if leaky_result(result):
        rows.append(("WARNING", LEAK))
    if result.get("purpose") != "table":
        honest = not leaky_params(result.get("best_config"))
        if result.get("best_trial") and honest:
            epochs = result.get("best_epoch")
            at = f", {counted(epochs, 'epoch')}" if isinstance(epochs, int) and epochs else ""
            params = config_line(result.get("best_params") or result.get("best_config"))
            rows.append(("winner", f"{result['best_trial']}{at}: {params}"))
        leak = "" if honest else " (leaky: no winner)"
        rows.append(("validation", f"{metric} {number(result.get('valid'))}, in the search{leak}"))
        tested = test_words(result)
        rows.append(("test", tested if tested == "not measured" else f"{metric} {tested}"))
        if beside := beside_words(result, "test"):
            rows.append(("beside", f"{beside} on the same test items"))
        rows += [("gain", words) for words in gain_words(result)]
    if result.get("split"):
        rows.append(("split", str(result["split"])))
    busy = result.get("busy_fraction")
    spent = f", cores busy {busy:.0%}" if isinstance(busy, int | float) else ""
    rows.append(("time", f"{duration(result.get('wall_s'))}, {counts_words(result)}{spent}"))
    rows += [
        ("file", str(folder / name))
        for name in ("report.html", "submission.csv")
        if (folder / name).exists()
    ]
    ready = (folder / "submission.csv").exists()
    left = may_extend(result)
    rows += [("next", command) for command in commands or next_commands(folder, ready, left)]
    return rows


def may_extend(result: Mapping[str, Any]) -> bool:
    """Whether more trials of the run would find a config that was not tried."""
    return result.get("configs_left") is not False


def next_commands(folder: Path, ready: bool = True, extend: bool = True) -> list[str]:
    """What a user may want to run now.

    `ready`: whether there is a submission to hand in. `extend`: whether there is more to try.
    """
    commands = [command("ui")]
    if ready and extend:
        commands.append(command("--run", folder, "--extend", "20"))
    if ready:
        commands.append(command("export", folder, "-o", "submission.csv"))
    return commands


def headline(result: Mapping[str, Any]) -> str:
    """The result in one or two sentences."""
    metric = str(result.get("metric", "the metric"))
    if result.get("purpose") == "table":
        return (
            f"A table of named configs, each measured in {metric} on validation and on test; "
            "no winner is chosen."
        )
    if not result.get("best_trial"):
        return "No honest trial has a value yet: there is nothing to compare."
    if result.get("test") is None:
        return (
            f"The best config so far reaches {metric} {number(result.get('valid'))} on validation. "
            "The test items have not been looked at."
        )
    first = f"The winner reaches {metric} {test_words(result)} on the test items"
    rivals = _against(result, metric)
    end = ""
    if (result.get("race") or {}).get("winner_is_default"):
        end = f" It is the first default config{_nothing_better(result)}."
    elif lead := _lead(comparisons(result)):
        end = f" {lead}"
    return f"{first}{rivals}.{end}"


def _lead(found: Sequence[Mapping[str, Any]]) -> str:
    """The winner's lead over the first default config or, without one, the runner-up."""
    of_default = [c for c in found if "default" in str(c.get("name", ""))]
    one = next(iter(of_default or found), None)
    if one is None:
        return ""
    rival, gain = str(one.get("name") or one.get("against")), one.get("gain")
    if number(gain) == "-":
        return f"Nothing can be said of its lead over {rival}."
    if level(gain):
        return f"It and {rival} are level."
    proven = "is proven" if one.get("proven") else "is not proven"
    what = "gain" if float(gain) > 0 else "loss"  # type: ignore[arg-type]
    against = "over" if what == "gain" else "against"
    return f"Its {what} of {number(abs(float(gain)))} {against} {rival} {proven}."  # type: ignore[arg-type]


def _against(result: Mapping[str, Any], metric: str) -> str:
    """`, above popularity (0.0690) and not told apart from EASE (0.1720)`.

    Where the test compared them user by user, that decides; otherwise whether the other's value
    lies in the interval of the winner's, and without an interval nothing is said.
    """
    test, ci = float(result["test"]), result.get("test_ci")
    low, high = (float(v) for v in ci) if ci is not None and interval(ci) else (test, test)
    compared = {c.get("against"): c for c in result.get("test_comparisons") or []}
    parts = []
    for name, row in (result.get("baselines") or {}).items():
        value = of_metric(row.get("test"), metric) if isinstance(row, Mapping) else None
        if value is None:
            continue
        if name in compared:
            above = float(compared[name].get("gain") or 0.0) > 0
            proven = bool(compared[name].get("proven"))
            place = ("above" if above else "below") if proven else "not told apart from"
        elif low == high:
            place = "beside"
        else:
            place = "above" if value < low else "below" if value > high else "close to"
        parts.append(f"{place} {baseline_name(name)} ({number(value)})")
    return ", " + " and ".join(parts) if parts else ""
