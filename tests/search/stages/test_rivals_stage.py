"""The rivals of the winner: chosen beside the race, tested beside the winner or left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from search.machine.cluster import Failure, Resources
from search.stages import race as race_stage
from search.stages import replicates, rivals
from search.stages import test as test_stage
from search.stages import work as work_stage
from search.stages.context import RunFailedError
from tests.search.stages.searched import Run
from tests.search.stages.test_race import Workers


def test_what_is_chosen_beside_the_race_is_what_the_test_would_choose(run: Run) -> None:
    """The slow way: a test without a race before it chooses for itself."""
    run.go("race")
    assert any("; at the same time popularity and EASE on validation" in note for note in run.notes)
    assert run.progress[0] == (0, 4 * 3 + 2, "trainings and rivals")
    assert run.progress[-1] == (14, 14, "trainings and rivals")
    kept = run.stages.state.rivals
    assert set(kept) == {"popularity", "ease"}
    run.go("blend")
    sent = len(run.workers.tasks)
    run.go("test")
    choices = [task[2] for task in run.workers.tasks[sent:] if task[0] is rivals.rival_task]
    assert len(choices) == 2
    assert not any(isinstance(choice, rivals.ChoiceTask) for choice in choices)
    assert (3, 3, "models") in run.progress
    beside = run.said("test")["baselines"]
    run.stages.state.rivals.clear()
    found = test_stage.test(run.stages).baselines
    assert {name: one.plain() for name, one in found.items()} == beside
    assert beside["ease"]["l2"] == kept["ease"].config["ease_l2"]


def test_a_resumed_race_chooses_no_rival_twice(run: Run) -> None:
    run.go("race")
    assert rivals.to_choose(run.stages) == []
    first = run.stages.state.rivals["ease"]
    run.stages.state.rivals["ease"] = replace(first, metrics={"other@5": 0.1})
    assert [task.rival.name for task in rivals.to_choose(run.stages)] == ["ease"]
    run.stages.split = replace(run.stages.split, test=None)
    assert rivals.to_choose(run.stages) == []


def _dies(*_: Any) -> Failure:
    return Failure("OutOfMemoryError: the worker was killed", "")


def test_a_choice_that_fails_is_made_again_before_the_test(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(replicates, "choose_beside", _dies)
        run.go("race")
    assert not run.stages.state.rivals
    run.go("blend", "test")
    assert set(run.said("test")["baselines"]) == {"popularity", "ease"}


class Slow(Workers):
    """Workers that never finish what a rival needs; they say so until nobody waits any more."""

    def map(
        self,
        function: Callable[..., Any],
        tasks: Iterable[tuple[Any, ...]],
        resources: Resources,
        memory: Sequence[int] = (),
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, Any]]:
        kept = list(tasks)
        quick = [
            number
            for number, task in enumerate(kept)
            if task[0] not in (rivals.choose_beside, rivals.rival_task)
        ]
        for index, answer in super().map(function, [kept[n] for n in quick], resources):
            yield quick[index], answer
        until = time.monotonic() + 20
        while len(quick) < len(kept) and not enough():
            assert time.monotonic() < until, "it is still waited for"
            time.sleep(0.01)


def test_a_race_does_not_wait_for_a_rival_past_its_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race_stage, "granted", lambda *_: lambda _racers: 0.0)
    monkeypatch.setattr(race_stage, "PATIENCE_S", 0.1)
    run.stages.cluster = Slow()  # type: ignore[assignment]
    run.go("race")
    assert run.said("race")["replicates"] == 3
    assert not run.stages.state.rivals
    assert (
        "EASE and popularity took longer than the race: chosen before the test if there is time"
    ) in run.notes


def test_a_test_does_not_wait_for_a_rival_past_the_time_budget(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.go("race", "blend")
    monkeypatch.setattr(work_stage, "PATIENCE_S", 0.1)
    run.stages.cluster = Slow()  # type: ignore[assignment]
    run.stages.deadline = time.monotonic()
    run.go("test")
    told = run.said("test")["baselines"]
    assert {one["skipped"] for one in told.values()} == {"there was no time left for it"}
    assert "EASE is not tested: there was no time left for it" in run.notes


def test_a_rival_that_there_is_no_memory_for_is_said_beforehand(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals.note_missing(run.stages)
    assert run.notes == []
    monkeypatch.setattr("search.tune.need.usable_memory", lambda: 1_000_000)
    rivals.note_missing(run.stages)
    (note,) = run.notes
    assert note.startswith("no linear model is compared with: on 200 items the cheapest needs ")
    assert [rival.name for rival in rivals.rivals_of(run.stages)] == ["popularity"]
    # what counts on a cluster is its largest node
    there = replace(run.stages.resources, largest=10**12)
    run.stages.resources = there
    assert [rival.name for rival in rivals.rivals_of(run.stages)] == ["popularity", "ease"]


@pytest.mark.parametrize("lost", [{"ease"}, {"popularity", "ease"}])
def test_a_run_ends_without_a_rival_that_cannot_be_tested(run: Run, lost: set[str]) -> None:
    """A submission does not depend on what the winner is compared with; the gap is said."""
    run.go("race", "blend")
    valid = run.stages.state.rivals["ease"].metrics

    def answer(function: Any, *task: Any) -> Any:
        dies = function is rivals.rival_task and task[0].name in lost
        return _dies() if dies else function(*task)

    run.workers.answer = answer
    run.go("test", "refit")
    told = run.said("test")
    why = "OutOfMemoryError: the worker was killed"
    assert told["baselines"]["ease"] == {"valid": valid, "skipped": why}
    kept = {"popularity", "ease"} - lost
    assert {name for name, one in told["baselines"].items() if "test" in one} == kept
    assert {one["against"] for one in told["comparisons"]} == kept
    assert f"EASE is not tested: {why}" in run.notes
    assert "handed" in run.said("refit")


def test_a_winner_that_cannot_be_tested_ends_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.go("race", "blend")
    monkeypatch.setattr(test_stage, "test_task", _dies)
    with pytest.raises(RunFailedError, match=r"_dies: .*killed; --resume tries again"):
        test_stage.test(run.stages)
