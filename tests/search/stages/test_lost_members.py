"""Where a member of a blend cannot be trained, the winner alone is handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from recsys.data import Dataset
from recsys.models.blend import Blend
from recsys.models.saved import load_model
from recsys.split import Split
from search.machine.cluster import Failure
from search.machine.workers import NoWorkersError
from search.record.events import StageMarked, StageState, Status
from search.record.folder import save_arrays
from search.record.handed import disagreement
from search.record.measured import TEST_VALUES, load_test_items, load_test_values
from search.record.result import BlendMember, RunResult, blended
from search.stages import blend as blend_stage
from search.stages.refit import refit
from search.stages.result import result
from search.stages.winner import final_training, refit_task
from search.summary import blend_rows, blend_words, headline
from tests.search.stages.searched import Run, blended_as_proven

CAUSE = "OutOfMemoryError: the worker was killed"


def lose(run: Run, stage: Literal["test", "refit"]) -> BlendMember:
    """From now on the training of a member for a stage fails, and not the winner's; which one."""
    blend = blended(run.stages.state)
    assert blend is not None
    member = next(one for one in blend.members if one.id != run.said("race")["winner"])
    training = final_training(run.stages, member.id, member.epochs, stage)

    def answer(function: Any, *task: Any) -> Any:
        dies = function is refit_task and task[0] == training
        return Failure(CAUSE.replace(" ", "\n "), "") if dies else function(*task)

    run.workers.answer = answer
    return member


def files(run: Run) -> dict[str, bytes]:
    """What a run hands over, by its place in the folder."""
    folder = run.folder.path
    found = {str(path.relative_to(folder)): path for path in (folder / "model").iterdir()}
    return {name: path.read_bytes() for name, path in found.items()} | {
        "submission.csv": (folder / "submission.csv").read_bytes()
    }


def values_on_test(run: Run) -> np.ndarray:
    found = load_test_values(run.folder.path)
    assert found is not None
    return found.values


@pytest.fixture
def alone(tmp_path: Path, data: tuple[Dataset, Split], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same run, with a blend that is not proven: it hands the winner over."""
    (tmp_path / "alone").mkdir()
    twin = Run(tmp_path / "alone", *data)
    blended_as_proven(twin, monkeypatch, proven=False)
    twin.go("test", "refit")
    return twin


def assert_alone(run: Run, twin: Run) -> RunResult:
    """All that a run says and hands over is of the winner alone, as in its twin."""
    assert files(run) == files(twin)
    assert disagreement(run.folder.path, run.stages.state) is None
    np.testing.assert_array_equal(values_on_test(run), values_on_test(twin))
    found, other = result(run.stages, Status.DONE), result(twin.stages, Status.DONE)
    assert found.handed_over == other.handed_over
    assert found.groups == other.groups and found.groups is not None
    assert found.groups.model == "winner"
    assert found.handed == other.handed
    assert found.test_reads == 1
    assert found.blend is not None and not found.blend.handed_over
    return found


def test_where_a_member_cannot_be_trained_for_the_test_the_winner_is_handed_over(
    run: Run, alone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    blended_as_proven(run, monkeypatch)
    member = lose(run, "test")
    run.go("test", "refit")
    found = assert_alone(run, alone)
    label = run.stages.state.trials[member.id].training.label()
    why = f"its member {member.id} ({label}) cannot be trained on train + validation: {CAUSE}"
    assert f"the winner alone is handed over: the blend is proven better, but {why}" in run.notes
    assert found.blend is not None and found.blend.failed == why and found.blend.test is None
    rows = dict(blend_rows(found))
    assert rows["submission"] == f"is the winner's: the blend is proven better, but {why}"
    assert headline(found).endswith(
        "finalists, proven better, could not be trained: the winner alone is handed over."
    )


def test_where_a_member_cannot_be_trained_on_everything_the_winner_is_handed_over(
    run: Run, alone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the test has been read for the blend: its value stays, beside the winner's own."""
    blended_as_proven(run, monkeypatch)
    member = lose(run, "refit")
    run.go("test")
    before = result(run.stages, Status.FAILED)
    assert before.handed_over.name is not None
    assert before.groups is not None and before.groups.model == "blend"
    tested_blend = values_on_test(run)
    assert not np.array_equal(tested_blend, values_on_test(alone))
    run.go("refit")
    found = assert_alone(run, alone)
    label = run.stages.state.trials[member.id].training.label()
    why = f"its member {member.id} ({label}) cannot be trained on everything: {CAUSE}"
    assert found.blend is not None and found.blend.failed == why
    assert found.blend.test == pytest.approx(tested_blend.mean())
    words = f"the blend is proven better and was tested, but {why}"
    assert f"the winner alone is handed over: {words}" in run.notes
    assert blend_words(found)[-1] == f"the submission is the winner's: {words}"


def test_a_member_that_trains_when_the_refit_is_made_again_is_in_the_blend(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a session left, what is handed over in the end is what all files say."""
    blended_as_proven(run, monkeypatch)
    run.go("test")
    tested_blend = values_on_test(run)
    lose(run, "refit")
    refit(run.stages)  # and killed before its line
    assert not isinstance(load_model(run.folder.path / "model"), Blend)
    assert not np.array_equal(values_on_test(run), tested_blend)
    run.stages.refresh()
    run.go("refit")
    assert result(run.stages, Status.DONE).handed_over.name is None
    run.workers.answer = None
    run.journal.append(StageMarked(name="refit", state=StageState.START))  # files were lost
    run.stages.refresh()
    run.go("refit")
    found = result(run.stages, Status.DONE)
    assert found.handed_over.name is not None
    assert found.blend is not None and found.blend.failed is None
    assert found.groups is not None and found.groups.model == "blend"
    assert isinstance(load_model(run.folder.path / "model"), Blend)
    np.testing.assert_array_equal(values_on_test(run), tested_blend)
    assert disagreement(run.folder.path, run.stages.state) is None


def test_a_refit_after_a_test_that_lost_the_blend_does_not_try_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    blended_as_proven(run, monkeypatch)
    lose(run, "test")
    run.go("test")
    run.workers.answer = None
    sent = len(run.workers.tasks)
    run.go("refit")
    assert len([task for task in run.workers.tasks[sent:] if task[0] is refit_task]) == 1


def test_where_the_lists_of_a_blend_cannot_be_made_the_winner_is_handed_over(
    run: Run, alone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    blended_as_proven(run, monkeypatch)
    run.workers.answer = lambda function, *task: (
        Failure(CAUSE, "") if function is blend_stage.blend_test_task else function(*task)
    )
    run.go("test", "refit")
    found = assert_alone(run, alone)
    assert found.blend is not None
    assert found.blend.failed == f"its lists cannot be made: {CAUSE}"


def test_a_run_of_an_earlier_version_that_lost_its_blend_has_no_values_of_another_model(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stuck at its refit, with a test that kept the blend's values and groups alone."""
    blended_as_proven(run, monkeypatch)
    run.go("test")
    path = run.folder.path / TEST_VALUES
    arrays = dict(np.load(path))
    save_arrays(path, **{name: arrays[name] for name in arrays if name not in ("winner", "blend")})
    old = {key: value for key, value in run.said("test").items() if key != "winner_groups"}
    run.journal.append(StageMarked(name="test", state=StageState.START))
    run.journal.append(StageMarked(name="test", state=StageState.DONE, data=old))
    run.stages.refresh()
    lose(run, "refit")
    run.go("refit")
    assert load_test_values(run.folder.path) is None
    assert load_test_items(run.folder.path, run.stages.split.train.n_items) is not None
    found = result(run.stages, Status.DONE)
    assert found.groups is None and found.handed_over.name is None


@pytest.mark.parametrize("error", [NoWorkersError("no worker starts"), TypeError("a mistake")])
def test_what_is_no_failed_task_still_ends_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Nodes that went come back, and a mistake of ours is to be seen."""
    blended_as_proven(run, monkeypatch)

    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr("search.stages.refit.train_blend", fail)
    run.go("test")
    with pytest.raises(type(error)):
        run.go("refit")
    assert not run.stages.state.stage_done("refit")
