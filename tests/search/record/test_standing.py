"""Which trial is ahead: one answer for the race, the tables, MLflow, the screen and the report."""

from __future__ import annotations

import json

from search.record.events import Reason, State, TrialEnded
from search.record.standing import ByValue, by_value, contenders, leader, leads, standing
from search.record.state import RunState, TrialRecord
from search.record.tables import tables
from search.run.warm import best_trials
from search.screen.progress import Progress
from search.tracking.wanted import run_points


def trial(
    number: int,
    value: float | None,
    state: State = State.COMPLETE,
    reason: Reason = Reason.EPOCHS,
    exclude: str = "train",
) -> TrialRecord:
    """An ended trial of a config of its own."""
    return TrialRecord(
        id=f"t{number:04d}",
        number=number,
        params={"lr": number + 1.0},
        config={"lr": number + 1.0, "negatives_exclude": exclude},
        seed=number,
        created=float(number),
        state=state,
        reason=reason,
        value=value,
        ended=number + 1.0,
    )


def ended(one: TrialRecord) -> TrialEnded:
    """The line of the journal that ended it."""
    return TrialEnded(id=one.id, state=one.state, reason=one.reason, value=one.value)


PRUNED = trial(1, 0.2, State.PRUNED, Reason.ASHA)
LEAKY = trial(2, 0.3, exclude="all")
FAILED = trial(3, 0.4, State.FAILED, Reason.ERROR)
CUT_OFF = trial(4, 0.15, State.PRUNED, Reason.TIME)
NONE = trial(5, None)
ALL = [trial(0, 0.1), PRUNED, LEAKY, FAILED, CUT_OFF, NONE]


def ids(trials: list[TrialRecord]) -> list[str]:
    return [t.id for t in trials]


def test_the_order() -> None:
    assert ids(standing(ALL)) == ["t0004", "t0000", "t0001"]
    assert ids(contenders(ALL)) == ["t0004", "t0000"]
    assert ids(contenders([PRUNED, LEAKY, FAILED, NONE])) == ["t0001"]
    assert leader([LEAKY, FAILED, NONE]) is None
    assert ids(standing([trial(7, 0.1), trial(6, 0.1)])) == ["t0006", "t0007"]


def test_the_lead_rises_with_those_that_may_win() -> None:
    assert [(t.id, value) for t, value in leads(ALL)] == [("t0000", 0.1), ("t0004", 0.15)]


def test_everybody_names_the_same_trial() -> None:
    """The tables, a warm start, MLflow's course and the screen."""
    state = RunState()
    state.trials = {t.id: t for t in ALL}
    assert json.loads(tables(state)["best.json"])["id"] == "t0004"
    assert best_trials(state)[0].id == "t0004"
    course = [p.value for p in run_points(state) if p.key == "best_so_far"]
    assert course == [0.1, 0.1, 0.1, 0.1, 0.15, 0.15]
    shown = Progress("space", "data", 6)
    for one in ALL:
        shown.start_trial(one.id, one.params, one.leaky)
        shown.end_trial(ended(one))
    assert shown.best is not None
    assert shown.best.id == "t0004"


def test_the_screen_shows_a_pruned_trial_only_before_others_have_ended() -> None:
    shown = Progress("space", "data", 3)
    for one in (PRUNED, trial(0, 0.1)):
        shown.start_trial(one.id, one.params, one.leaky)
        shown.end_trial(ended(one))
        assert shown.best is not None
        assert shown.best.id == one.id


def test_trials_by_the_value_of_a_parameter() -> None:
    values = [0.1, 0.4, 0.3, None, 0.2, None]
    methods = ["ials", "slim", "ials", "bce", "slim", "slim"]
    made = [trial(n, value) for n, value in enumerate(values)]
    for one, method in zip(made, methods, strict=True):
        one.params["method"] = method
    assert by_value("method", made) == {
        "slim": ByValue(3, 0.4, 0.30000000000000004),
        "ials": ByValue(2, 0.3, 0.2),
        "bce": ByValue(1, None, None),
    }
    assert list(by_value("method", made)) == ["slim", "ials", "bce"]
