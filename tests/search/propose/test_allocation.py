"""How trials are dealt out among methods."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from search.propose.allocation import FIRST, MOST_HALVINGS, MethodTrials, Terms, next_method, shares


def standings(values: dict[str, list[float | None]]) -> dict[str, MethodTrials]:
    return {name: MethodTrials.of(found) for name, found in values.items()}


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
    """Levels so close that only their order counts."""
    return lambda name, n: 100 + level[name] / 100 + 0.0001 * n


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
        return 1.0 if name == "done" else 0.97 + 0.0001 * n

    got = deal(["done", "learning"], value, 100)
    assert got["learning"] > 70


def test_who_is_far_behind_gets_little_until_the_others_stop_getting_better() -> None:
    def value(name: str, n: int) -> float:
        if name == "behind":
            return 0.8
        return 1.0 + (0.01 * n if name == "rising" else 0.0)

    level = deal(["level", "behind"], value, 60)
    assert level["behind"] <= 20  # 4 halvings, against one for every 8 trials
    assert deal(["rising", "behind"], value, 60)["behind"] <= FIRST + 2


def test_shares_are_of_the_cost_where_time_is_short() -> None:
    values: dict[str, list[float | None]] = {"dear": [], "cheap": [], "free": []}
    level = {"dear": 3.0, "cheap": 2.0, "free": 1.0}
    terms = Terms(first=1, costs={"dear": 8.0, "cheap": 2.0, "free": 1.0})
    for n in range(150):
        name = next_method(list(values), standings(values), {}, terms)
        if n < 3:
            assert name == list(values)[n]  # one of each
        values[name].append(rising(level)(name, len(values[name])))
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
    ended = standings({"a": [0.19] * FIRST, "b": [0.2] * FIRST})
    assert next_method(["a", "b"], ended, {"b": 50}) == "a"


def test_one_method_gets_everything() -> None:
    assert deal(["a"], lambda *_: 0.1, 7) == {"a": 7}


def test_shares_by_hand() -> None:
    values: dict[str, list[float | None]] = {
        "ahead": [0.1, 1.0, *[0.2] * 16],  # 16 trials since its best: halved twice
        "second": [0.1, 0.3, 0.95],  # one place and 5% behind
        "third": [0.85, 0.1, 0.1],  # two places and 15%
        "none": [],
    }
    assert shares(list(values), standings(values)) == pytest.approx(
        {"ahead": 1 / 4, "second": 1 / 4, "third": 1 / 32, "none": 2.0**-MOST_HALVINGS}
    )


def test_a_blend_shares_more_evenly() -> None:
    """Half as far by the place, as far by everything else."""
    ended = standings({"a": [1.0], "b": [0.95], "c": [0.95]})
    assert shares(list("abc"), ended, 2) == pytest.approx({"a": 1.0, "b": 2**-1.5, "c": 2.0**-2})
    level = standings({"a": [1.0] * FIRST, "b": [1.0] * FIRST})
    spent = {"a": 10, "b": 6}  # with the first ones 13 and 9; due are 15.3 and 7.7, or 13.5 and 9.5
    assert next_method("ab", level, spent) == "a"
    assert next_method("ab", level, spent, Terms(places=2)) == "b"


def stopped(*values: float) -> MethodTrials:
    """Trials that were stopped on the way."""
    made = MethodTrials()
    for number, value in enumerate(values):
        made.add(number, value, whole=False)
    return made


def test_while_the_best_of_a_method_run_its_early_values_are_not_held_against_it() -> None:
    """One that learns slowly, of which only the weak ones have ended."""
    ended = standings({"fast": [0.2] * FIRST}) | {"slow": stopped(0.05)}
    assert shares(["fast", "slow"], ended, 1, {"slow": 2}) == {"fast": 1.0, "slow": 0.5}
    assert shares(["fast", "slow"], ended, 1, {"fast": 2})["slow"] == 2.0**-MOST_HALVINGS
    ended["slow"].add(1, 0.04)  # one came to its end, below what another one had on its way
    assert not ended["slow"].settled
    ended["slow"].add(2, 0.19)
    assert ended["slow"].settled
    level = shares(["fast", "slow"], ended, 1, {"slow": 1})
    assert level == pytest.approx({"fast": 1.0, "slow": 2**-2.0})  # a place and 5% behind


def test_a_method_that_has_only_failed_is_not_waited_for() -> None:
    ended = standings({"good": [0.2] * FIRST, "broken": [None] * FIRST})
    assert ended["broken"].settled
    assert shares(["good", "broken"], ended, 1, {"broken": 1})["broken"] == 2.0**-MOST_HALVINGS


def test_values_that_are_not_above_nothing_have_an_order_only() -> None:
    assert shares(["a", "b"], standings({"a": [0.0], "b": [-1.0]})) == {"a": 1.0, "b": 0.5}
    assert shares(["a", "b"], {}) == {"a": 1.0, "b": 0.5}


def test_the_order_in_which_trials_end_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        values = [
            None if rng.random() < 0.3 else int(rng.integers(4)) / 4
            for _ in range(int(rng.integers(1, 12)))
        ]
        made = MethodTrials()
        for number in rng.permutation(len(values)):
            made.add(10 * int(number), values[number])
        found = [-math.inf if value is None else value for value in values]
        waited = len(found) - 1 - found.index(max(found))
        assert (len(made), made.best, made.waited) == (len(found), max(found), waited)
    nothing = MethodTrials()
    assert (len(nothing), nothing.best, nothing.waited) == (0, -math.inf, 0)
