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
    """A metric value with `digits` decimals, `-` where there is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}"


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
    """`0.1601 to 0.1770`; empty where there is none."""
    if not isinstance(ci, Sequence) or len(ci) != 2 or "-" in map(number, ci):
        return ""
    return f"{number(ci[0])} to {number(ci[1])}"


def test_words(result: Mapping[str, Any]) -> str:
    """The test value with its interval and the number of users."""
    if result.get("test") is None:
        return "not measured"
    between = interval(result.get("test_ci"))
    users = result.get("test_users")
    inside = ", ".join(
        part
        for part in (
            f"95% interval {between}" if between else "",
            f"{users:,} users" if isinstance(users, int) else "",
        )
        if part
    )
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
        words.append("the winner is the first default config: the search found nothing better")
    words += [str(c["words"]) for c in result.get("test_comparisons") or []]
    return words


def counts_words(result: Mapping[str, Any]) -> str:
    """`64 trials: 20 completed, 43 pruned, 1 failed`."""
    counts = result.get("trials") or {}
    parts = [f"{counts[s]} {s}" for s in ("completed", "pruned", "failed") if counts.get(s)]
    total = sum(v for v in counts.values() if isinstance(v, int))
    return f"{total} trials" + (f": {', '.join(parts)}" if parts else "")


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
            at = f", {result['best_epoch']} epochs" if result.get("best_epoch") else ""
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
    rows += [("next", command) for command in commands or next_commands(folder, ready)]
    return rows


def next_commands(folder: Path, ready: bool = True) -> list[str]:
    """What a user may want to run now; `ready`: whether there is a submission to hand in."""
    more = [
        command("--run", folder, "--extend", "20"),
        command("export", folder, "-o", "submission.csv"),
    ]
    return [command("ui"), *(more if ready else [])]


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
    gains = [c for c in comparisons(result) if "default" in str(c.get("name", ""))]
    gains = gains or comparisons(result)
    end = ""
    if (result.get("race") or {}).get("winner_is_default"):
        end = " It is the first default config: the search found nothing better."
    elif gains:
        rival = str(gains[0].get("name") or gains[0].get("against"))
        proven = "is proven" if gains[0].get("proven") else "is not proven"
        end = f" Its gain of {number(gains[0].get('gain'))} over {rival} {proven}."
    return f"{first}{rivals}.{end}"


def _against(result: Mapping[str, Any], metric: str) -> str:
    """`, above popularity (0.0690) and close to EASE (0.1720)`."""
    test, ci = float(result["test"]), result.get("test_ci")
    low, high = (float(v) for v in ci) if ci is not None and interval(ci) else (test, test)
    parts = []
    for name, row in (result.get("baselines") or {}).items():
        value = of_metric(row.get("test"), metric) if isinstance(row, Mapping) else None
        if value is not None:
            place = "above" if value < low else "below" if value > high else "close to"
            parts.append(f"{place} {baseline_name(name)} ({number(value)})")
    return ", " + " and ".join(parts) if parts else ""
