"""How trials are dealt out among methods."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from search.tune.allocation import FIRST, Standing, Terms, next_method, shares


def standings(values: dict[str, list[float | None]]) -> dict[str, Standing]:
    return {name: Standing.of(found) for name, found in values.items()}


def deal(
    methods: list[str], value: Callable[[str, int], float | None], trials: int
) -> dict[str, int]:
    """How many trials each method gets, `value(method, its n-th trial)` being what they reach."""
    values: dict[str, list[float | None]] = {name: [] for name in methods}
    for _ in range(trials):
        name = next_method(methods, standings(values), {})
        values[name].append(value(name, len(values[name])))
    return {name: len(found) for name, found in values.items()}


def rising(level: dict[str, float]) -> Callable[[str, int], float]:
    return lambda name, n: level[name] + 0.001 * n


def test_everybody_gets_a_first_look() -> None:
    got = deal(["a", "b", "c"], rising({"a": 1.0, "b": 2.0, "c": 3.0}), 3 * FIRST)
    assert got == {"a": FIRST, "b": FIRST, "c": FIRST}


def test_most_trials_go_to_the_one_ahead_and_some_to_all() -> None:
    got = deal(["a", "b", "c"], rising({"a": 1.0, "b": 3.0, "c": 2.0}), 100)
    # 4 : 2 : 1 of 100 trials
    assert got == {
        "b": pytest.approx(57, abs=2),
        "c": pytest.approx(29, abs=2),
        "a": pytest.approx(14, abs=2),
    }


def test_who_stops_getting_better_gives_way() -> None:
    def value(name: str, n: int) -> float:
        return 1.0 if name == "done" else 0.5 + 0.001 * n

    got = deal(["done", "learning"], value, 100)
    assert got["learning"] > 70


def test_shares_are_of_the_cost_where_time_is_short() -> None:
    values: dict[str, list[float | None]] = {"dear": [], "cheap": [], "free": []}
    level = {"dear": 3.0, "cheap": 2.0, "free": 1.0}
    terms = Terms(first=1, costs={"dear": 8.0, "cheap": 2.0, "free": 1.0})
    for n in range(150):
        name = next_method(list(values), standings(values), {}, terms)
        if n < 3:
            assert name == list(values)[n]  # one of each
        values[name].append(level[name] + 0.001 * len(values[name]))
    spent = {name: len(found) * terms.cost(name) for name, found in values.items()}
    total = sum(spent.values())
    assert spent["dear"] / total == pytest.approx(4 / 7, abs=0.03)
    assert spent["cheap"] / total == pytest.approx(2 / 7, abs=0.03)


def test_equal_costs_are_no_costs() -> None:
    value = rising({"a": 1.0, "b": 3.0, "c": 2.0})
    plain: dict[str, list[float | None]] = {name: [] for name in "abc"}
    told: dict[str, list[float | None]] = {name: [] for name in "abc"}
    for _ in range(80):
        for values, terms in ((plain, Terms()), (told, Terms(costs=dict.fromkeys("abc", 5.0)))):
            name = next_method(["a", "b", "c"], standings(values), {}, terms)
            values[name].append(value(name, len(values[name])))
    assert plain == told


def test_who_only_fails_gets_little() -> None:
    got = deal(["good", "broken"], lambda name, n: None if name == "broken" else 0.001 * n, 60)
    assert FIRST <= got["broken"] <= 15


def test_what_runs_counts_as_begun_and_as_nothing_else() -> None:
    running = {"a": 0, "b": 0}
    for _ in range(40):
        running[next_method(["a", "b"], {}, running)] += 1
    assert abs(running["a"] - 2 * running["b"]) <= 6  # "a" is first of equals
    ended = standings({"a": [0.1] * FIRST, "b": [0.2] * FIRST})
    assert next_method(["a", "b"], ended, {"b": 50}) == "a"


def test_one_method_gets_everything() -> None:
    assert deal(["a"], lambda *_: 0.1, 7) == {"a": 7}


def test_shares_by_hand() -> None:
    values: dict[str, list[float | None]] = {
        "ahead": [0.1, 0.9, *[0.2] * 16],  # 16 trials since its best: halved twice
        "second": [0.1, 0.3, 0.8],
        "third": [0.7, 0.1, 0.1],
        "none": [],
    }
    assert shares(list(values), standings(values)) == {
        "ahead": 1 / 4,
        "second": 1 / 2,
        "third": 1 / 4,
        "none": 1 / 8,
    }


def test_the_order_in_which_trials_end_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        values = [
            None if rng.random() < 0.3 else int(rng.integers(4)) / 4
            for _ in range(int(rng.integers(1, 12)))
        ]
        made = Standing()
        for number in rng.permutation(len(values)):
            made.add(10 * int(number), values[number])
        found = [-math.inf if value is None else value for value in values]
        waited = len(found) - 1 - found.index(max(found))
        assert (len(made), made.best, made.waited) == (len(found), max(found), waited)
    nothing = Standing()
    assert (len(nothing), nothing.best, nothing.waited) == (0, -math.inf, 0)
