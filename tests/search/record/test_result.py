"""result.json: what is written is read, files of earlier versions too, and the docs name it all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import InputError
from search.record import result
from search.record.events import StageMarked, StageState, State
from search.record.folder import RunFolder
from search.record.result import (
    VERSION,
    Baseline,
    Blended,
    BlendMember,
    Comparison,
    Counts,
    Finalist,
    Race,
    Refitted,
    ResultPart,
    RunResult,
    Searched,
    SearchEnd,
    blended,
    fields_table,
    read_result,
    refitted,
    searched,
    write_result,
)
from search.record.state import RunState

ROOT = Path(__file__).resolve().parents[3]
FULL = RunResult(
    version=VERSION,
    metric="map@50",
    valid=0.2,
    test=0.1,
    test_ci=(0.05, None),
    baselines={"ease": Baseline(valid=0.1, test=0.2, l2=500.0), "knn": Baseline(skipped="why")},
    trials=Counts(completed=3, pruned=0, failed=1),
    race=Race(
        replicates=2,
        finalists=(Finalist(id="t0", mean=0.1, values=(0.1, None), best_epochs=(1, 2)),),
        comparisons=(Comparison(against="t1", gain=0.1, ci=(0.0, 0.2), proven=True, words="w"),),
    ),
)


def test_a_rival_keeps_its_remarks_and_what_it_was_never_given() -> None:
    line = {"valid": {"map@5": 0.1}, "test": {"map@5": 0.2, "hit@5": 0.3}, "l2": 500.0}
    rows = {"ease": line, "knn": {"skipped": "why"}}
    found = result.Tested.model_validate({"baselines": rows})
    assert found.plain() == {"baselines": rows}
    one = found.baselines["ease"].baseline("map@5")
    assert one == Baseline(valid=0.1, test=0.2, l2=500.0)
    assert found.baselines["knn"].baseline("map@5") == Baseline(skipped="why")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "a") as folder:
        assert read_result(folder.path) is None
        write_result(folder, FULL)
        assert read_result(folder.path) == FULL
        plain = json.loads((folder.path / "result.json").read_text())
    assert next(iter(plain)) == "version"
    assert plain["test_ci"] == [0.05, None]
    assert plain["baselines"]["knn"] == {"skipped": "why"}
    assert "wall_s" not in plain  # what was not given is not said


def test_what_is_handed_over_has_its_own_test() -> None:
    assert FULL.handed_over == (None, 0.1, (0.05, None))
    kept = {"members": [{"id": "t0"}, {"id": "t1"}], "test": 0.15, "test_ci": [0.1, 0.2]}
    for handed, expected in (
        (True, ("blend of 2", 0.15, (0.1, 0.2))),
        (False, (None, 0.1, None)),
    ):
        blend = {**kept, "handed_over": handed}
        found = RunResult.model_validate({"test": 0.1, "blend": blend})
        assert found.handed_over == expected


def test_what_the_stages_found_is_read_from_the_journal() -> None:
    state = RunState()
    assert searched(state) is None
    found = Searched(stopped_by=SearchEnd.TIME, planned=5, **{State.COMPLETE: 2})
    # The keys and words that runs of every version have.
    assert json.dumps(found.plain()) == '{"stopped_by": "time", "planned": 5, "COMPLETE": 2}'
    state.apply(StageMarked(name="search", state=StageState.DONE, data=found.plain()), 0)
    assert searched(state) == found
    state.apply(StageMarked(name="search", state=StageState.START), 0)  # an extension
    assert searched(state) is None
    state.apply(StageMarked(name="refit", state=StageState.DONE, data={"rows": 3}), 0)
    assert refitted(state) == Refitted(rows=3)
    assert Refitted(rows=3).separator == " "


def test_a_blend_that_a_later_stage_could_not_train_is_not_handed_over() -> None:
    """Until that stage is undone, as by an extension."""

    def done(name: str, part: ResultPart) -> StageMarked:
        return StageMarked(name=name, state=StageState.DONE, data=part.plain())

    members = (BlendMember(id="t0"), BlendMember(id="t1"))
    for stage, lost in (
        ("test", result.Tested(blend_failed="why")),
        ("refit", Refitted(blend_failed="why")),
    ):
        state = RunState()
        state.apply(done("blend", Blended(members=members, handed_over=True)), 0)
        state.apply(done("test", result.Tested(blend_failed=None)), 0)
        state.apply(done(stage, lost), 0)
        found = blended(state)
        assert found is not None and (found.handed_over, found.failed) == (False, "why")
        state.apply(StageMarked(name=stage, state=StageState.START), 0)
        found = blended(state)
        assert found is not None and (found.handed_over, found.failed) == (True, None)
    state = RunState()
    state.apply(done("blend", Blended(members=members)), 0)
    state.apply(done("test", result.Tested(blend_failed="why")), 0)
    found = blended(state)
    assert found is not None and (found.handed_over, found.failed) == (False, None)


def test_a_file_without_a_version_and_with_fields_not_known_here(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"status": "done", "best_trial": "t0003", "moon": 1}')
    found = read_result(tmp_path)
    assert found == RunResult(status="done", best_trial="t0003")  # type: ignore[arg-type]
    assert found.version == 0


@pytest.mark.parametrize(
    ("said", "leaks"),
    [
        ({"negatives_exclude": "all"}, True),
        ({"negatives_exclude": ["all", "train"]}, True),
        ({"negatives_exclude": "train"}, False),
        ({"negatives_exclude": None}, False),
        ({}, False),
        ({"negatives_exclude": "train", "leaky": True}, True),  # of a model with another word
    ],
)
def test_a_leak_is_read_from_files_of_earlier_versions(
    tmp_path: Path, said: dict[str, Any], leaks: bool
) -> None:
    (tmp_path / "result.json").write_text(json.dumps(said))
    found = read_result(tmp_path)
    assert found is not None
    assert found.leaky is leaks
    assert found.won_by_leak is leaks  # none is known to have won


def test_an_honest_winner_beside_leaky_trials_did_not_win_by_the_leak() -> None:
    honest, other = ({"lr": 0.1, "negatives_exclude": word} for word in ("train", "all"))
    assert not RunResult(leaky=True, best_config=honest).won_by_leak
    assert RunResult(leaky=True, best_config=other).won_by_leak


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not readable as JSON"),
        ('{"test": {"map@50": 0.1}}', "test: "),
        ('{"race": {"finalists": [{"id": 3}]}}', r"race\.finalists\.0\.id: "),
    ],
)
def test_a_damaged_file_is_one_line_with_the_field(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match=rf"result\.json: {says}") as caught:
        read_result(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_page_of_the_docs_is_made_from_the_fields() -> None:
    """Where this fails: put `search.record.result.fields_table()` into docs/result.md."""
    assert (ROOT / "docs" / "result.md").read_text(encoding="utf-8").endswith(fields_table())


def test_every_field_is_described() -> None:
    assert "| None |" not in fields_table()
    assert len(fields_table().splitlines()) > 50
