"""A blend from the race to the model that is handed over, in this process and without a search."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.blending import MOST_USERS, voters
from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models.base import Size
from recsys.models.blend import Blend
from recsys.models.saved import load_model
from search import stats
from search.machine.cluster import Resources
from search.record.events import StageMarked, StageState, Status
from search.record.folder import save_arrays
from search.record.result import (
    Blended,
    BlendMember,
    BlendResult,
    Comparison,
    Decided,
    Finalist,
    RunResult,
    blended,
)
from search.record.standing import contenders
from search.record.state import SessionRecord
from search.stages import blend as blend_stage
from search.stages import race as race_stage
from search.stages import replicates
from search.stages import test as test_stage
from search.stages.context import TaskFailedError
from search.stages.lineup import finalists, others_to_blend
from search.stages.lists import lists_file, lists_of
from search.stages.result import result
from search.stages.winner import final_training, refit_task
from search.summary import blend_rows, blend_words, headline
from search.tune.need import task_bytes
from tests.search.stages.searched import Run, blended_otherwise
from tests.search.stages.test_race import Workers


def test_the_best_of_each_method_races(run: Run) -> None:
    ranked = contenders(run.stages.state.in_order())
    assert [t.id for t in ranked] == ["t0000", "t0001", "t0002", "t0003"]
    others = others_to_blend(run.stages, ranked, ranked[:2])
    assert [t.id for t in others] == ["t0002", "t0003"]
    # where time is short the last are left out: those of a method that is there already
    assert [t.id for t in finalists(run.stages)] == ["t0000", "t0002", "t0003", "t0001"]
    run.go("race")
    assert {row["id"] for row in run.said("race")["finalists"]} == {t.id for t in ranked}


def test_from_the_race_to_the_submission(run: Run, tmp_path: Path) -> None:
    run.go("race", "blend", "test", "refit")
    blend = run.said("blend")
    members = blend["members"]
    assert 1 < len(members) <= 3
    assert sum(m["weight"] for m in members) == pytest.approx(1.0)
    weights = [m["weight"] for m in members]
    assert weights == sorted(weights, reverse=True)
    assert not lists_of(run.folder.path)  # of no more use
    # what the result says is what the stages said, and the words agree with the files
    whole = result(run.stages, Status.DONE)
    assert whole.blend is not None
    assert [m.id for m in whole.blend.members] == [m["id"] for m in members]
    rows = blend_rows(whole)
    labels = {t.id: t.training.label() for t in run.stages.state.in_order()}
    for (label, text), member in zip(rows, members, strict=False):
        assert label == ("blend" if member is members[0] else "")
        share = f"{member['weight']:.2f} of {member['id']} {labels[member['id']]}"
        assert text == f"{share}, alone {member['mean']:.4f}"
    assert rows[len(members)][1].startswith(f"together {blend['mean']:.4f}, ")
    handed = "the blend's" if blend["handed_over"] else "the winner's"
    assert rows[-1][1].startswith(f"is {handed}")
    model = load_model(run.folder.path / "model")
    assert isinstance(model, Blend) == blend["handed_over"]


def test_what_is_tested_is_what_the_members_are(run: Run) -> None:
    """By the slow way: every member trained here, added by hand, measured here."""
    run.go("race", "blend", "test")
    data, split = blended(run.stages.state), run.stages.split
    assert data is not None
    seen = split.train.union(split.valid)
    config, weights, _ = blend_stage.train_blend(run.stages, data, "test", seen)
    model = blend_stage.assembled(config, weights, seen)
    assert split.test is not None
    by_hand = evaluate(model, seen, split.test, ["ndcg@10"]).values["ndcg@10"]
    assert run.said("test")["blend"]["values"]["ndcg@10"] == by_hand
    told = run.said("test")["blend"]["comparisons"]
    assert [one["against"] for one in told] == ["winner", "popularity", "ease"]
    gain = by_hand - run.said("test")["values"]["ndcg@10"]
    assert told[0]["gain"] == pytest.approx(gain)


def test_the_test_of_a_blend_asks_for_the_memory_of_its_members(run: Run) -> None:
    """On a cluster: a node that is too small would end it, and the run where it is handed over."""
    run.go("race", "blend")
    run.stages.resources = there = Resources(1, 0.0, 2, 2, largest=10**12)
    blend = blended(run.stages.state)
    assert blend is not None
    seen = run.stages.split.search_data()
    config, weights, _ = blend_stage.train_blend(run.stages, blend, "test", seen)
    run.workers.memory.clear()
    blend_stage.blend_on_test(run.stages, blend, ["ndcg@10"], {})
    assert len(run.workers.memory) == len(config.members) + 1
    assert run.workers.memory[-1] == task_bytes(
        there, [], Size.of(seen), 2 * sum(map(len, weights))
    )
    assert run.workers.memory[-1] > 0


def test_the_winner_is_not_trained_twice_for_the_test(run: Run) -> None:
    run.go("race", "blend")
    blend = blended(run.stages.state)
    assert blend is not None
    winner = run.said("race")["winner"]
    assert winner in {member.id for member in blend.members}
    sent = len(run.workers.tasks)
    run.go("test")
    trained = [task for task in run.workers.tasks[sent:] if task[0] is refit_task]
    assert len(trained) == len(blend.members) - 1
    own = final_training(run.stages, winner, run.said("race")["epochs"], "test")
    assert own not in [task[1] for task in trained]


@pytest.mark.parametrize(
    ("gain", "p", "handed"), [(0.1, 0.001, True), (0.1, 0.3, False), (-0.1, 0.001, False)]
)
def test_only_a_proven_gain_is_handed_over(
    run: Run, gain: float, p: float, handed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    low, high = (gain - 0.05, gain + 0.05) if p < 0.05 else (gain - 0.2, gain + 0.2)
    fixed = stats.PairedComparison(gain, low, high, p, p, 0.05, 100, 3)
    monkeypatch.setattr(blend_stage, "compare_paired", lambda *_: fixed)
    run.go("race", "blend")
    assert run.said("blend")["handed_over"] is handed
    run.go("refit")
    config = json.loads((run.folder.path / "model" / "config.json").read_text())
    assert (config["model"] == "blend") is handed
    assert (run.folder.path / "submission.csv").read_text().count("\n") > 100


def test_a_blend_that_is_one_finalist_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(parts: Any, *_: Any, **__: Any) -> tuple[list[np.ndarray], np.ndarray]:
        return [np.zeros(len(part.users)) for part in parts], np.eye(parts[0].members)[0]

    monkeypatch.setattr(blend_stage, "cross_fitted", alone)
    run.go("race", "blend", "refit")
    assert run.said("blend")["skipped"].startswith("no sum of finalists is better than t000")
    assert any(note.startswith("no blend: ") for note in run.notes)
    assert result(run.stages, Status.DONE).blend is None
    assert not isinstance(load_model(run.folder.path / "model"), Blend)


def test_where_there_can_be_none() -> None:
    two = (Finalist(id="t0000"), Finalist(id="t0001"))
    race = Decided(winner="t0000", epochs=1, finalists=two, replicates=2)
    assert blend_stage._why_not(race, "coverage@10") == "coverage@10 has no value for a single user"
    assert blend_stage._why_not(race, "map@10") is None
    assert blend_stage._why_not(Decided(winner="t0000", epochs=1), "map@10") is not None


def test_with_one_split_the_halves_of_its_users_choose_for_each_other(run: Run) -> None:
    spec = run.stages.spec
    run.stages.spec = replace(spec, race=replace(spec.race, replicates=1))
    run.go("race")
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        whole = blend_stage.cross_fitted
        patch.setattr(
            blend_stage,
            "cross_fitted",
            lambda parts, *a, **k: (seen.extend(parts), whole(parts, *a, **k))[1],
        )
        found = blend_stage.choose_blend(run.stages)
    one, other = (set(part.users.tolist()) for part in seen)
    assert not one & other and abs(len(one) - len(other)) <= 1
    assert found.comparison is not None and found.comparison.users == len(one | other)
    assert len(found.values) == 1


def raced(run: Run, values: Mapping[str, list[float]]) -> Decided:
    """A race in which every user of a split has the same value."""
    users = np.arange(run.stages.split.train.n_users)
    for name, each in values.items():
        for replicate, value in enumerate(each):
            path = replicates.per_user_file(run.folder.path, name, replicate)
            save_arrays(path, users=users, values=np.full(len(users), value))
    order = sorted(values, key=lambda name: -float(np.mean(values[name])))
    return Decided(
        winner=order[0],
        epochs=1,
        replicates=len(values[order[0]]),
        finalists=tuple(Finalist(id=name, values=tuple(values[name])) for name in order),
    )


def test_a_blend_meets_the_winner_that_the_other_splits_make(run: Run) -> None:
    """The luck of the first split, which made t0000 the winner, is not held against the blend."""
    race = raced(
        run, {"t0000": [0.9, 0.1, 0.1], "t0001": [0.2, 0.2, 0.3], "t0002": [0.1, 0.3, 0.2]}
    )
    users = np.array([3, 5], np.int32)
    parts = [blend_stage.UserGroup(replicate, users) for replicate in range(3)]
    winners = blend_stage._winners(run.stages, race, parts)
    # without the first split t0001 and t0002 are level, and the race has t0001 first
    assert winners == ["t0001", "t0000", "t0000"]
    measured = [np.full(2, value) for value in (0.5, 0.6, 0.7)]
    mine, others = blend_stage._side_by_side(run.stages, winners, parts, measured)
    np.testing.assert_array_equal(mine[:, users], [[0.5] * 2, [0.6] * 2, [0.7] * 2])
    np.testing.assert_array_equal(others[:, users], [[0.2] * 2, [0.1] * 2, [0.1] * 2])
    assert np.isnan(np.delete(others, users, axis=1)).all()
    assert np.isnan(np.delete(mine, users, axis=1)).all()


def test_halves_of_one_split_make_winners_for_each_other(run: Run) -> None:
    users = np.arange(run.stages.split.train.n_users)
    half = len(users) // 2
    for name, low, high in (("t0000", 0.9, 0.1), ("t0001", 0.2, 0.6)):
        path = replicates.per_user_file(run.folder.path, name, 0)
        save_arrays(path, users=users, values=np.where(users < half, low, high))
    finalists = (Finalist(id="t0000"), Finalist(id="t0001"))
    race = Decided(winner="t0000", epochs=1, replicates=1, finalists=finalists)
    halves = [blend_stage.UserGroup(0, users[:half]), blend_stage.UserGroup(0, users[half:])]
    assert blend_stage._winners(run.stages, race, halves) == ["t0001", "t0000"]
    # where only some are asked, the users of neither part choose as well
    few = [blend_stage.UserGroup(0, users[:1]), blend_stage.UserGroup(0, users[-1:])]
    assert blend_stage._winners(run.stages, race, few) == ["t0000", "t0000"]


@pytest.mark.parametrize(
    ("splits", "asked", "reason"),
    [
        (1, 0, "needs two users"),
        (1, 1, "needs two users"),
        (1, 2, None),
        (3, 0, "a fresh split has no user to measure it on"),
    ],
)
def test_who_is_there_to_choose(
    run: Run, splits: int, asked: int, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = run.stages.spec
    run.stages.spec = replace(spec, race=replace(spec.race, replicates=splits))
    run.go("race")
    monkeypatch.setattr(blend_stage, "voters", lambda *_: voters(*_)[:asked])
    said = blend_stage.choose_blend(run.stages).skipped
    if reason is None:  # two users may find that one finalist is enough
        assert said is None or said.startswith("no sum of finalists")
    else:
        assert said is not None and reason in said


def test_after_a_race_that_was_late_no_blend_makes_it_later(run: Run) -> None:
    spec = run.stages.spec
    run.stages.spec = replace(spec, race=replace(spec.race, replicates=1))
    run.go("race")
    run.stages.deadline = time.monotonic() - 1
    assert blend_stage.choose_blend(run.stages).skipped == "no time is left to train its members"
    run.stages.deadline = time.monotonic() + 3600
    assert blend_stage.choose_blend(run.stages).skipped is None


def test_a_resumed_race_makes_lists_that_are_missing(run: Run) -> None:
    run.go("race")
    lost = lists_file(run.folder.path, "t0000", 1)
    before = dict(np.load(lost))
    lost.unlink()
    sent = len(run.workers.tasks)
    run.journal.append(StageMarked(name="race", state=StageState.START))
    run.stages.refresh()
    run.go("race")
    assert [task[1].config_id for task in run.workers.tasks[sent:]] == ["t0000"]
    for name, values in np.load(lost).items():
        np.testing.assert_array_equal(values, before[name])


def test_a_resumed_race_races_again_what_an_earlier_version_did(run: Run) -> None:
    """Its values were of each finalist's own best epoch: too high to stand beside the others."""
    run.go("race")
    old = run.stages.state.race["t0001", 1]
    run.journal.append(replace(old, crossed=None, value=0.99, time=None))
    run.journal.append(StageMarked(name="race", state=StageState.START))
    run.stages.refresh()
    sent = len(run.workers.tasks)
    run.go("race")
    raced = [(task[1].config_id, task[1].replicate) for task in run.workers.tasks[sent:]]
    assert raced == [("t0001", 1)]
    assert run.stages.state.race["t0001", 1].value == old.value


def test_a_race_uses_the_time_that_is_left_and_keeps_to_it_when_resumed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SessionRecord, "trials_s", 600.0)
    stages = run.stages
    stages.spec = replace(stages.spec, race=replace(stages.spec.race, up_to=5))
    stages.settings = SimpleNamespace(**vars(stages.settings) | {"time_budget": 600.0})  # type: ignore[assignment]
    stages.deadline = time.monotonic() + 600
    run.go("race")
    planned = stages.spec.race.replicates
    assert run.said("race")["replicates"] == 5 > planned
    assert any(f"({planned} planned, {5 - planned} more in the time that" in n for n in run.notes)
    lists_file(run.folder.path, "t0002", 4).unlink()
    stages.deadline = None  # resumed without a budget: the race is the one that began
    run.journal.append(StageMarked(name="race", state=StageState.START))
    run.stages.refresh()
    sent = len(run.workers.tasks)
    run.go("race")
    assert [task[1].replicate for task in run.workers.tasks[sent:]] == [4]
    assert run.said("race")["replicates"] == 5


def test_a_late_race_waits_for_no_training_beyond_its_whole_splits(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing ends for a long time, as on many workers that all train."""
    clock = [0.0]
    monkeypatch.setattr(race_stage, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    run.stages.deadline = time.monotonic() + 600
    run.stages.settings = SimpleNamespace(**vars(run.stages.settings) | {"time_budget": 600.0})  # type: ignore[assignment]
    looks = []

    class Slow(Workers):
        def map(
            self, function: Any, tasks: Any, _: Any, memory: Any = (), enough: Any = None
        ) -> Any:
            for index, task in enumerate(list(tasks)):
                if task[1:] and getattr(task[1], "replicate", 0) == 1:
                    looks.append(enough())
                    clock[0] += 10_000
                    looks.append(enough())
                    return
                yield index, function(*task)

    run.stages.cluster = Slow()  # type: ignore[assignment]
    run.go("race")
    assert looks == [False, True]
    assert run.said("race")["replicates"] == 1
    assert "no time for the rest of the race: 1 of 3 splits" in run.notes


def test_fewer_users_are_asked_where_lists_would_take_too_much_memory(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.go("race")
    assert blend_stage.most_voters(2, 9, 200, 16e9) > MOST_USERS
    assert blend_stage.most_voters(12, 12, 200, 16e9) < MOST_USERS
    # a small machine keeps an eighth of its memory for them, and a large one a gigabyte
    many = blend_stage.most_voters(2, 9, 200, 8e9)
    assert blend_stage.most_voters(2, 9, 200, 800e9) == many
    assert blend_stage.most_voters(2, 9, 200, 2e9) == pytest.approx(many / 4, abs=1)
    assert blend_stage.most_voters(2, 9, 200, 1e6) == blend_stage.LEAST_VOTERS
    monkeypatch.setattr(blend_stage, "VOTES_BYTES", 1)
    monkeypatch.setattr(blend_stage, "LEAST_VOTERS", 40)
    found = blend_stage.choose_blend(run.stages)
    assert found.comparison is not None
    assert 40 <= found.comparison.users <= 40 * len(found.values)


def test_a_blend_that_is_not_handed_over_need_not_be_tested(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    blended_otherwise(run, monkeypatch, "test", handed_over=False)

    def fail(*_: Any) -> Any:
        raise TaskFailedError("its member t0001 (ease) cannot be trained: it diverged")

    monkeypatch.setattr(test_stage, "blend_on_test", fail)
    found = test_stage.test(run.stages)
    assert found.blend is None and found.blend_failed is None
    assert run.notes[-1].endswith(
        "is not tested: its member t0001 (ease) cannot be trained: it diverged"
    )


def test_who_has_no_items_does_not_vote() -> None:
    """They get what is popular, from any model: from lists they would get its starting values."""
    train = CSR.from_pairs([0, 0, 2], [0, 1, 1], 4, 9)
    valid = CSR.from_pairs([0, 1, 2, 3], [2, 2, 2, 2], 4, 9)
    assert voters(train, valid, 1).tolist() == [0, 2]


def test_voters_are_a_sample_where_there_are_many() -> None:
    n = MOST_USERS + 50
    everybody = np.arange(n)
    train = CSR.from_pairs(everybody, np.zeros(n, int), n, 5)
    valid = CSR.from_pairs(everybody[:-10], np.ones(n - 10, int), n, 5)
    one, other = voters(train, valid, 3), voters(train, valid, 4)
    assert len(one) == MOST_USERS == len(set(one.tolist()))
    assert (np.diff(one) > 0).all()
    assert one.max() < n - 10  # nobody without held-out items
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(one, voters(train, valid, 3))


def test_a_stage_that_was_killed_before_its_end_says_the_same_again(run: Run) -> None:
    """The lists stay until the journal has what was made of them."""
    run.go("race")
    first = blend_stage.choose_blend(run.stages)
    run.go("blend")
    assert Blended.model_validate(run.said("blend")) == first


def test_lists_that_are_gone_are_no_crash(run: Run) -> None:
    run.go("race")
    lists_file(run.folder.path, "t0002", 2).unlink()
    run.go("blend", "refit")
    assert run.said("blend")["skipped"] == "the finalists' lists in the run folder are gone"
    assert not isinstance(load_model(run.folder.path / "model"), Blend)


def test_words_of_a_blend() -> None:
    words = "the blend is better than the winner t0001 by 0.0100: a real gain"
    members = (
        BlendMember(id="t0001", label="slim k=200 l2=200", weight=0.75, mean=0.28),
        BlendMember(id="t0005", weight=0.25),  # by an earlier version, in a run without means
    )
    blend = BlendResult(
        members=members,
        mean=0.29,
        comparison=Comparison(words=words),
        handed_over=True,
        test=0.3,
        test_ci=(0.25, 0.35),
    )
    whole = RunResult(metric="map@10", blend=blend)
    assert blend_rows(whole) == [
        ("blend", "0.75 of t0001 slim k=200 l2=200, alone 0.2800"),
        ("", "0.25 of t0005"),
        ("", "together 0.2900, under weights that others chose (map@10 in the race)"),
        ("", "test map@10 0.3000 (95% interval 0.2500 to 0.3500)"),
        ("gain", words),
        ("submission", "is the blend's, since it is proven better than the winner alone"),
    ]
    assert blend_words(whole)[-1].startswith("the submission is the blend's")
    tested = whole.model_copy(update={"best_trial": "t0001", "test": 0.2})
    assert headline(tested).endswith(
        " A blend of 2 finalists, proven better, is handed over: it reaches 0.3000."
    )
    assert blend_rows(RunResult()) == []
