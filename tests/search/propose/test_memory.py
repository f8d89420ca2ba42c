"""What a sampler remembers of many trials."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.propose import memory as memories
from search.record.events import State
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.tune.searcher import StudySearch
from tests.search.fake_search import finish, records, run, suggest
from tests.search.spaces import override


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "LIMIT", 18)
    monkeypatch.setattr(memories, "KEPT", 12)


def spec() -> SearchSpec:
    return override(load_spec("bpr_uniform"), ["latent_factors=8", "searcher=tpe"])


def value(params: dict[str, Any]) -> float:
    return math.exp(-abs(math.log(params["lr"] / 0.15)))


def test_few_trials_are_all_remembered() -> None:
    trials = [create_trial(state=TrialState.COMPLETE, value=float(n)) for n in range(5)]
    assert memories.remembered(trials, 5) == trials


def test_the_best_and_an_even_part_of_the_rest_are_remembered() -> None:
    trials = [create_trial(state=TrialState.COMPLETE, value=float(n)) for n in range(100)]
    kept = memories.remembered(trials, 20)
    assert [trial.value for trial in kept] == [*range(0, 96, 6), 96, 97, 98, 99]
    assert kept == [trial for trial in trials if trial in kept]


def test_a_complete_trial_ranks_before_a_pruned_one_and_that_by_how_far_it_came() -> None:
    def pruned(*values: float) -> optuna.trial.FrozenTrial:
        steps = dict(enumerate(values, 1))
        return create_trial(state=TrialState.PRUNED, intermediate_values=steps)

    far, near, weak = pruned(0.1, 0.1), pruned(0.9), pruned(0.2)
    done = create_trial(state=TrialState.COMPLETE, value=0.05)
    failed = create_trial(state=TrialState.FAIL)
    trials = [failed, weak, near, far, done, failed, failed, failed, failed, failed]
    assert done in memories.remembered(trials, 5)
    assert far in memories.remembered([t for t in trials if t is not done], 5)
    assert near in memories.remembered([t for t in trials if t not in (done, far)], 5)


@pytest.mark.usefixtures("forgetful")
def test_a_search_goes_on_learning() -> None:
    search = StudySearch(spec(), seed=1, budget=80)
    trials = run(search, value)
    assert isinstance(search._memory, memories.Memory)
    assert 12 <= len(search._memory._study.trials) <= 18
    assert len(search.study.trials) == 80  # the run's own study has them all
    late = [value(t.params) for t in trials[-10:]]
    drawn = [value(t.params) for t in trials[4:14]]  # before anything is learned
    assert sum(late) > 1.2 * sum(drawn)
    assert len({str(t.params) for t in trials}) == 80


@pytest.mark.parametrize("cut", [17, 18, 19, 40])
@pytest.mark.usefixtures("forgetful")
def test_a_resumed_search_proposes_the_same(cut: int) -> None:
    whole = [t.params for t in run(StudySearch(spec(), seed=4, budget=50), value)]
    first = StudySearch(spec(), seed=4, budget=50)
    before = run(first, value, most=cut)
    assert suggest(first, "was running") is not None
    second = StudySearch(spec(), records(first.study), seed=4, budget=50)
    assert [t.params for t in [*before, *run(second, value)]] == whole


@pytest.mark.parametrize("space", ["bpr_uniform", "all"])
@pytest.mark.usefixtures("forgetful")
def test_running_trials_are_carried_over(space: str) -> None:
    search = StudySearch(override(load_spec(space), ["searcher=tpe"]), seed=2, budget=200)
    for n in range(6):
        suggest(search, f"long{n}")
        search.on_trial_result(f"long{n}", {"epoch": 1, "objective": 0.1 * n})
    for n in range(60):
        suggest(search, f"x{n}")
        finish(search, f"x{n}", 0.5 + 0.001 * n, stop="epochs")
    for n in range(6):
        search.on_trial_result(f"long{n}", {"epoch": 2, "objective": 0.2 * n})
        finish(search, f"long{n}", 0.2 * n, stop=None)
    ended = records(search.study)
    assert sum(t.state == State.PRUNED for t in ended) == 6
    assert sum(t.state == State.COMPLETE for t in ended) == 60
    all_of_them = (
        [search._memory]
        if isinstance(search._memory, memories.Memory)
        else list(search._memory._proposers.values())  # type: ignore[union-attr]
    )
    assert all(not memory._open for memory in all_of_them)


@pytest.mark.parametrize("space", ["bpr_uniform", "all"])
def test_of_many_running_trials_the_sampler_sees_a_part(
    monkeypatch: pytest.MonkeyPatch, space: str
) -> None:
    monkeypatch.setattr(memories, "SHOWN", 2)
    monkeypatch.setattr(memories, "LIMIT", 30)
    monkeypatch.setattr(memories, "KEPT", 20)
    search = StudySearch(override(load_spec(space), ["searcher=tpe"]), seed=2, budget=200)
    running: list[str] = []

    def shown() -> list[int]:
        return [
            sum(trial.state == TrialState.RUNNING for trial in memory._study.trials)
            for memory in memories_of(search)
        ]

    for n in range(110):
        running.append(f"x{n}")
        assert suggest(search, f"x{n}") is not None
        search.on_trial_result(f"x{n}", {"epoch": 1, "objective": 0.001 * n})
        if search._memory is not None:
            assert max(shown()) <= 2
        if len(running) == 20:
            oldest = running.pop(0)
            finish(search, oldest, 0.5 + 0.001 * n, stop="epochs" if n % 2 else None)
    assert max(shown()) == 2
    assert sum(len(memory._hidden) for memory in memories_of(search)) >= 1
    for tune_id in running:
        finish(search, tune_id, 0.9, stop="epochs")
    # What was hidden while it ran counts once it has ended, and what it was proposed as does not.
    for memory in memories_of(search):
        assert not memory._open
        assert not memory._hidden
        assert all(t.state != TrialState.RUNNING for t in memory._study.trials)
        real = [t for t in memory._study.trials if t.number not in memory._stubs]
        assert len(real) == memory._ended
        assert all(t.state != TrialState.FAIL for t in real)
    assert {t.state for t in records(search.study)} == {State.COMPLETE, State.PRUNED}


def memories_of(search: StudySearch) -> list[memories.Memory]:
    if isinstance(search._memory, memories.Memory):
        return [search._memory]
    assert search._memory is not None
    return list(search._memory._proposers.values())


def test_few_running_trials_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> list[dict[str, Any]]:
        search = StudySearch(spec(), seed=3, budget=30)
        for n in range(5):
            suggest(search, f"long{n}")
        return [t.params for t in run(search, value)]

    before = made()
    monkeypatch.setattr(memories, "SHOWN", 7)
    assert made() == before


def test_what_running_trials_had_reached_is_known_where_a_memory_takes_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memories, "SHOWN", 2)
    search = StudySearch(override(load_spec("bpr_uniform"), ["searcher=tpe"]), seed=2, budget=9)
    for n in range(2):
        assert suggest(search, f"x{n}") is not None
        search.on_trial_result(f"x{n}", {"epoch": 8, "objective": 0.1 * (n + 1)})
    assert search._memory is None
    suggest(search, "x2")
    (memory,) = memories_of(search)
    assert [t.intermediate_values for t in memory._study.trials[:2]] == [{8: 0.1}, {8: 0.2}]
