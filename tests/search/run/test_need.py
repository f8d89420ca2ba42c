"""Methods that there is no memory for are left out, with a line, before anything starts."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.errors import ConfigError
from recsys.models.base import Size
from search.machine.nodes import Place
from search.record.events import (
    Event,
    StageMarked,
    StageState,
    State,
    TrialEnded,
    TrialMade,
)
from search.record.result import (
    Blended,
    BlendMember,
    Decided,
    ResultPart,
    Searched,
    SearchEnd,
)
from search.record.settings import Settings
from search.record.state import RunState
from search.run import start
from search.run.need import (
    Left,
    check_memory,
    check_nodes,
    fit_memory,
    fit_nodes,
    resources_on,
)
from search.run.start import Options, run_search
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig
from search.tune.need import WORKER, trial_bytes, usual_bytes

SMALL = Size(1_000, 800, 50_000)
WIDE = Size(100_000, 60_000, 2_000_000)
GB = 10**9


def test_what_fits_is_left_alone() -> None:
    told: list[str] = []
    spec = load_spec("all")
    assert fit_memory(spec, SMALL, 8 * GB, 2, 1, told.append) is spec
    assert told == []


@pytest.fixture
def two(tmp_path: Path) -> SearchSpec:
    """A space of EASE and popularity."""
    path = tmp_path / "two.yaml"
    path.write_text(
        "params:\n  model: {choice: [ease, popularity]}\n  ease_l2: {low: 1, high: 100}\n"
        "enqueue:\n  - {model: ease, ease_l2: 5}\n  - {model: popularity}\n"
    )
    return load_spec(str(path))


def test_a_method_without_room_is_left_out(two: SearchSpec) -> None:
    told: list[str] = []
    spec = fit_memory(two, WIDE, 24 * GB, 2, 1, told.append)
    drawn = spec.sample(np.random.default_rng(1))
    assert spec.train_config(drawn).model == "popularity"
    assert [dict(pairs)["model"] for pairs in spec.enqueue] == ["popularity"]
    (line,) = told
    assert line.startswith("left out: ease: 2 trials at a time on 60,000 items would need")
    assert line.endswith(" GB, and this machine has 24.0 GB of memory")


def test_nothing_fits() -> None:
    with pytest.raises(ConfigError, match=r"need at least .* GB, and this machine has 0.6 GB"):
        fit_memory(load_spec("bpr_hard"), WIDE, 6 * 10**8, 2, 1, print)


def test_a_part_that_is_too_large_is_noted() -> None:
    told: list[str] = []
    spec = load_spec("bpr_hard", ["latent_factors={choice: [8, 2048]}"])
    memory = int(2.5 * (2 * WORKER))
    assert fit_memory(spec, WIDE, memory, 2, 1, told.append) is spec
    (line,) = told
    assert line.startswith("note: the largest models of this space need")


def test_on_a_cluster_the_largest_node_decides(two: SearchSpec) -> None:
    told: list[str] = []
    assert fit_nodes(two, SMALL, GB, 1, told.append) is two
    spec = fit_nodes(two, WIDE, 24 * GB, 1, told.append)
    assert [dict(pairs)["model"] for pairs in spec.enqueue] == ["popularity"]
    (line,) = told
    assert line.startswith("left out: ease: trials on 60,000 items would need")
    assert line.endswith(" GB, and the node with the most memory offers 24.0 GB")
    with pytest.raises(ConfigError, match=r"trials on 60,000 items need at least .* 0.1 GB: exp"):
        fit_nodes(two, WIDE, GB // 10, 1, told.append)


def test_what_is_said_of_the_largest_node_says_of_which_nodes(two: SearchSpec) -> None:
    told: list[str] = []
    fit_nodes(two, WIDE, 24 * GB, 1, told.append, "of those with 1 GPU ")
    (line,) = told
    assert line.endswith(", and of those with 1 GPU the node with the most memory offers 24.0 GB")


def test_a_config_that_fits_on_no_node_is_refused_by_name() -> None:
    spec = load_spec("bpr_hard", ["latent_factors={choice: [8, 2048]}"])
    needed = max(trial_bytes(config, WIDE, 1) for config in spec.examples())
    assert fit_nodes(spec, WIDE, needed, 1, print) is spec
    with pytest.raises(ConfigError, match=r"with bpr-hard d=2048 .* need .* GB of memory, and"):
        fit_nodes(spec, WIDE, needed - 1, 1, print)


def test_a_new_run_looks_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(start, "usable_memory", lambda: WORKER)
    options = Options(space="bpr_hard", data="demo", runs_dir=tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"need at least .* and this machine has 0.3 GB"):
        run_search(options)
    assert not (tmp_path / "runs").exists()


def test_a_joined_cluster_is_not_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = Place(memory=WORKER // 2)
    monkeypatch.setattr(start, "check_place", lambda *_: place)
    options = Options(space="bpr_hard", data="demo", runs_dir=tmp_path / "runs", address="there:1")
    with pytest.raises(ConfigError, match=r"the node with the most memory offers 0.1 GB"):
        run_search(options)


def test_trials_are_counted_by_what_they_ask_for_on_average(two: SearchSpec) -> None:
    asked: list[tuple[Any, ...]] = []
    cluster: Any = SimpleNamespace(preflight=lambda *given: asked.append(given))
    settings = Settings("d", None, None, 1, 3, None, 1, 0.0, "cpu", "h:1", None, None)
    resources_on(cluster, two, settings, WIDE, Place(memory=64 * GB))
    resources_on(cluster, two, settings, WIDE, Place())  # a single machine, or no node is known
    usual = usual_bytes(two.examples(), WIDE, 1, 64 * GB)
    assert asked == [(1, 0.0, "cpu", usual), (1, 0.0, "cpu", 0)]
    assert usual > 0


# --- a run that goes on ---------------------------------------------------------------------------


def left_of(spec: SearchSpec, *events: Event, ended: int, extends: bool = False) -> Left:
    """What a run may still train whose trials have models of 8, 16, 32 and 64 factors, of which the
    first `ended` are complete, each better than the one before.
    """
    state = RunState()
    for number in range(4):
        trial = TrialConfig.of(spec, dict(spec.enqueue[0]), 42, number)
        config = trial.train.to_flat() | {"latent_factors": 8 * 2**number}
        params, seed = trial.params, trial.seed
        state.apply(
            TrialMade(id=trial.id, number=number, params=params, config=config, seed=seed), 0
        )
        if number < ended:
            value = number / 10
            state.apply(TrialEnded(id=trial.id, state=State.COMPLETE, value=value, epochs=6), 0)
    for event in events:
        state.apply(event, 0)
    return Left.of("r", spec, state, extends=extends)


def done(stage: str, part: ResultPart) -> StageMarked:
    return StageMarked(name=stage, state=StageState.DONE, data=part.plain())


def ids(left: Left) -> list[str]:
    return [trial.id for trial in left.trials]


def test_what_a_run_may_still_train() -> None:
    spec = load_spec("smoke", ["trials=6"])
    began = left_of(spec, ended=2)
    assert (began.spec, ids(began)) == (spec, ["t0001", "t0002", "t0003"])  # the first is ahead
    made = left_of(load_spec("smoke", ["trials=4"]), ended=3)
    assert (made.spec, ids(made)) == (None, ["t0002", "t0003"])
    searched = done("search", Searched(stopped_by=SearchEnd.TIME, planned=6))
    over = left_of(spec, searched, ended=4)
    assert (over.spec, ids(over)) == (None, ["t0003"])
    raced = done("race", Decided(winner="t0001", epochs=3))
    assert ids(left_of(spec, searched, raced, ended=4)) == ["t0001"]
    members = (BlendMember(id="t0000", weight=0.5), BlendMember(id="t0001", weight=0.5))
    for handed in (True, False):
        blend = done("blend", Blended(members=members, handed_over=handed))
        left = left_of(spec, searched, raced, blend, ended=4)
        assert ids(left) == (["t0000", "t0001"] if handed else ["t0001"])
    # an extension: the race is to be held again
    for trials in (6, 9):  # also to the number that was planned, after a time budget
        longer = load_spec("smoke", [f"trials={trials}"])
        more = left_of(longer, searched, raced, ended=4, extends=True)
        assert (more.spec, ids(more)) == (longer, ["t0003"])


@pytest.mark.parametrize("ended", [3, 4])  # the largest has not ended, or is ahead
def test_a_trial_that_fits_on_no_node_is_refused_by_name(ended: int) -> None:
    spec = load_spec("smoke", ["trials=4"])
    left = left_of(spec, ended=ended)
    needed = max(trial_bytes(trial.training, WIDE, 1) for trial in left.trials)
    check_nodes(left, WIDE, needed, 1)
    with pytest.raises(ConfigError) as caught:
        check_nodes(left, WIDE, needed - 1, 1, "of those with 1 GPU ")
    said = str(caught.value)
    assert "\n" not in said
    assert re.match(r"--run r: t0003 bpr-hard d=64 .* needs 0\.\d GB of memory on 60,000 it", said)
    assert "and of those with 1 GPU the node with the most memory offers 0." in said
    assert "a new run of a space of smaller models (--warm-start r)" in said


def test_a_method_without_room_here_is_no_longer_left_out_but_refused(two: SearchSpec) -> None:
    told: list[str] = []
    with pytest.raises(ConfigError, match=r"^--run r: ease: 2 trials at a time on 60,000 items ne"):
        check_memory(Left("r", two, ()), WIDE, 24 * GB, 2, 1, told.append)
    check_memory(Left("r", None, ()), WIDE, 24 * GB, 2, 1, told.append)
    check_memory(Left("r", two, ()), SMALL, GB, 2, 1, told.append)
    assert told == []
    spec = load_spec("bpr_hard", ["latent_factors={choice: [8, 2048]}"])
    check_memory(Left("r", spec, ()), WIDE, int(5 * WORKER), 2, 1, told.append)
    (line,) = told
    assert line.startswith("note: the largest models of this space need")
