"""`--extend N` from the command line to the journal: what is planned, said, and held again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.models.base import Size
from search.cli.main import main
from search.machine.nodes import Place
from search.propose.study import remake
from search.propose.trials import from_journal
from search.record.events import (
    STAGES,
    Event,
    SessionBegan,
    SessionEnded,
    StageMarked,
    StageState,
    State,
    Status,
    TrialEnded,
    TrialMade,
)
from search.record.folder import RunFolder
from search.record.journal import read_events
from search.record.result import RunResult, Searched, SearchEnd, write_result
from search.record.settings import Settings
from search.run import start as run_module
from search.run.opened import open_data
from search.run.session import Session
from search.space.load import load_run_spec, load_spec
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig, trial_id
from search.tune.need import WORKER, trial_bytes
from tests.factories import journal_of
from tests.search.spaces import override


class Folder:
    """A project folder with one data file; `write` makes a run, `call` is the command line."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.sessions: list[Session] = []
        rows = [f"u{u},i{(7 * u + 3 * k) % 40}" for u in range(60) for k in range(12)]
        (home / "my.csv").write_text("user,item\n" + "\n".join(rows) + "\n")

    def write(
        self,
        spec: SearchSpec,
        configs: list[dict[str, Any]],
        *,
        planned: int,
        stages: tuple[str, ...] = STAGES,
        status: str = "done",
        time_budget: float | None = None,
        stopped_by: SearchEnd = SearchEnd.TRIALS,
    ) -> None:
        settings = Settings(
            str(self.home / "my.csv"), None, None, 42, planned, time_budget, 1, 0.0, "cpu",
            None, None, None,
        )  # fmt: skip
        settings = open_data(spec, settings, "r", lambda _: None).settings
        folder = self.home / "runs" / "r"
        folder.mkdir(parents=True)
        (folder / "spec.yaml").write_text(override(spec, [f"trials={planned}"]).to_yaml())
        events: list[Event] = [SessionBegan(name="r", settings=asdict(settings))]
        for n, params in enumerate(configs):
            trial = TrialConfig.of(spec, params, 42)
            name, flat = trial_id(n), trial.train.to_flat()
            events += [
                TrialMade(id=name, number=n, params=params, config=flat, seed=trial.seed),
                TrialEnded(id=name, state=State.COMPLETE, value=0.1),
            ]
        for name in stages:
            found = Searched(stopped_by=stopped_by, planned=planned).plain()
            data = found if name == "search" else {}
            events.append(StageMarked(name=name, state=StageState.DONE, data=data))
        write_result(RunFolder(folder), RunResult(status=Status(status)))
        journal_of(folder, *events, SessionEnded(status=Status(status)))

    def call(self, *args: str) -> Session | None:
        """The session that `args` would run; None where nothing is run."""
        self.sessions.clear()
        assert main(("--run", "r", *args)) == 0
        return self.sessions[0] if self.sessions else None

    def stages_after(self, session: Session) -> dict[str, str]:
        """The state of each stage once `session` has begun."""
        with session.folder.journal() as journal:
            session._begin(journal)
        state = RunFolder.open(self.home / "runs", "r").state()
        return {name: state.stages[name].state for name in state.stages}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "check_tracking_uri", lambda uri: uri)
    monkeypatch.setattr(run_module, "check_place", lambda *_: None)
    folder = Folder(tmp_path)
    monkeypatch.setattr(run_module, "_drive", lambda one: folder.sessions.append(one) or 0)
    return folder


def some(spec: SearchSpec, n: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [spec.sample(rng) for _ in range(n)]


@pytest.fixture
def grid() -> SearchSpec:
    constants = ["searcher=grid", "method=bpr_hard", "margin=1", "lr=[0.05, 0.1]"]
    return override(load_spec("smoke"), [*constants, "latent_factors=[4, 8]"])


def test_no_run_gets_more_trials_than_a_space_may_have(here, capsys):
    """Else spec.yaml would be one that nothing reads again, so that the run can't be resumed."""
    spec = load_spec("smoke")
    here.write(spec, some(spec, 6), planned=6)
    before = (here.home / "runs" / "r" / "spec.yaml").read_text()
    assert main(("--run", "r", "--extend", "99999")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--extend 99,999: 6 trials so far, a run has at most 100,000" in line
    assert "expected at most 99,994" in line
    assert (here.home / "runs" / "r" / "spec.yaml").read_text() == before
    session = here.call("--extend", "99994")
    assert session is not None
    assert session.spec.trials == 100_000


@pytest.mark.parametrize("content", ["", "[1]", '{"sessions": [{"command": "first"}]}'])
def test_a_damaged_provenance_does_not_keep_a_run_from_going_on(here, content):
    spec = load_spec("smoke")
    here.write(spec, some(spec, 6), planned=6)
    path = here.home / "runs" / "r" / "provenance.json"
    path.write_text(content)
    here.stages_after(here.call("--extend", "2"))
    commands = [one["command"] for one in json.loads(path.read_text())["sessions"]]
    assert len(commands) == (2 if "first" in content else 1)


@pytest.mark.parametrize("planned", [4, 100])
def test_a_grid_that_is_through_has_nothing_left(here, grid, capsys, planned):
    here.write(grid, list(grid.grid()), planned=planned)
    for way in (("--extend", "10"), ("--resume",)):
        assert here.call(*way) is None
        said = capsys.readouterr().out
        assert "nothing is left to do" in said
        assert "each of the 4 configs of the space was tried" in said
        assert "--extend" not in said


def test_a_grid_with_some_left_is_extended_by_those(here, grid, capsys):
    here.write(grid, list(grid.grid())[:3], planned=3)
    session = here.call("--extend", "10")
    assert session is not None
    assert session.spec.trials == session.settings.trials == 4
    assert "3 trials so far, 1 more: 4 in all" in capsys.readouterr().out


def test_after_a_time_budget(here, capsys):
    spec = load_spec("smoke")
    here.write(spec, some(spec, 25), planned=4000, time_budget=600.0, stopped_by=SearchEnd.TIME)
    session = here.call("--extend", "5")
    assert session is not None
    assert (session.spec.trials, session.settings.time_budget) == (30, None)
    said = capsys.readouterr().out
    assert "25 trials so far, 5 more: 30 in all (not the 4,000 planned before)" in said
    assert "the time budget of 10m 00s was that of the earlier trials" in said
    assert here.stages_after(session) == dict.fromkeys(STAGES, "start")


def test_an_extension_with_a_budget_of_its_own(here, capsys):
    spec = load_spec("smoke")
    here.write(spec, some(spec, 25), planned=25, time_budget=600.0)
    session = here.call("--extend", "5", "--time-budget", "2m")
    assert session is not None
    assert session.settings.time_budget == 120.0
    assert "time budget" not in capsys.readouterr().out


def test_an_extension_to_the_number_that_was_planned_searches(here):
    spec = load_spec("smoke")
    here.write(spec, some(spec, 25), planned=30, stopped_by=SearchEnd.TIME)
    session = here.call("--extend", "5")
    assert session is not None
    assert here.stages_after(session)["search"] == "start"


def test_a_search_ended_by_its_budget_is_not_held_again_on_resume(here):
    spec = load_spec("smoke")
    here.write(
        spec, some(spec, 25), planned=4000, stages=("search",), status="interrupted",
        time_budget=600.0, stopped_by=SearchEnd.TIME,
    )  # fmt: skip
    session = here.call("--resume")
    assert session is not None
    assert (session.spec.trials, session.settings.time_budget) == (4000, 600.0)
    assert here.stages_after(session) == {"search": "done"}


def test_a_search_that_did_not_end_goes_on_when_resumed(here):
    spec = load_spec("smoke")
    here.write(spec, some(spec, 3), planned=6, stages=(), status="interrupted")
    session = here.call("--resume")
    assert session is not None
    assert session.spec.trials == 6
    assert here.stages_after(session) == {}


class TestWider:
    """`--extend N --set params.NAME.high=X`: the earlier trials stay in the model."""

    def test_the_new_space_is_that_of_the_run_from_then_on(self, here, capsys):
        spec = load_spec("smoke")
        here.write(spec, some(spec, 3), planned=3)
        session = here.call("--extend", "5", "--set", "params.lr.high=0.9")
        assert session is not None
        assert (session.spec.trials, session.extends) == (8, True)
        assert "the space of the new trials: params.lr.high=0.9" in capsys.readouterr().out
        here.stages_after(session)
        events = read_events(session.folder.path / "journal.jsonl")
        began = [event for event, _ in events if isinstance(event, SessionBegan)]
        assert [one.extends for one in began] == [None, True]
        session.folder.close()
        kept = load_run_spec(here.home / "runs" / "r")
        lr = next(p.domain for p in kept.params if p.name == "lr")
        assert lr.high == 0.9
        known = [from_journal(t, spec.metric) for t in session.folder.state().in_order()]
        study = remake(kept, known, "r")
        assert [t.params["lr"] for t in study.trials] == [t.params["lr"] for t in known]
        assert {t.distributions["lr"].high for t in study.trials} == {0.9}

    def test_a_space_that_was_through_has_new_configs_again(self, here, grid):
        here.write(grid, list(grid.grid()), planned=6, stopped_by=SearchEnd.SPACE)
        session = here.call("--extend", "2", "--set", "params.lr.choice=[0.05, 0.1, 0.2]")
        assert session is not None and session.spec.trials > len(list(grid.grid()))

    @pytest.mark.parametrize(
        ("args", "expected"),
        [
            (("--set", "params.lr.high=0.05"), "only grows: expected a range with 0.02 to 0.3"),
            # all trials are in it
            (("--set", "params.lr.high=0.25"), "params.lr.high=0.25: leaves out 0.3"),
            (("--set", "lr=0.1"), "only a range can change"),
            (("--set", "metric=map@20"), "only a range can change"),
            (("--set", "params.l2.high=0.1"), "is not a range of this run: expected one of"),
            (("--set", "params.method.choice=[bpr_hard]"), "is not a range of this run"),
            (("--set", "params.latent_factors.high=32"), "expected params.latent_factors.choice"),
            (("--set", "params.lr.choice=[0.1]"), "expected params.lr.low or .high"),
            (("--set", "params.lr.high=0.3"), "lr has this value already"),
            (("--set", "params.lr.high=-1"), "lr"),
            (("--set", "params.latent_factors.choice=[8]"), "leaves out 16, and"),
        ],
    )
    def test_anything_else_is_refused_in_one_line(self, here, capsys, args, expected):
        spec = load_spec("smoke")
        configs = [dict(spec.enqueue[0]) | {"lr": lr} for lr in (0.1, 0.2)]
        here.write(spec, configs, planned=3)
        before = (here.home / "runs" / "r" / "spec.yaml").read_bytes()
        assert main(("--run", "r", "--extend", "5", *args)) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
        assert (here.home / "runs" / "r" / "spec.yaml").read_bytes() == before

    def test_a_resume_keeps_the_space(self, here, capsys):
        spec = load_spec("smoke")
        here.write(spec, some(spec, 3), planned=5, status="interrupted")
        assert main(("--run", "r", "--resume", "--set", "params.lr.high=0.9")) == 2
        assert "leave out --set" in capsys.readouterr().err


class TestMemory:
    """A run goes on where there is less memory than where it began, or with larger models."""

    def narrow(self, here: Folder, *way: str, planned: int, **more: Any) -> int:
        """A run of three trials of 8 factors, which can go on in some `way`; returns the most bytes
        that a trial of its space takes.
        """
        spec = load_spec("smoke")
        configs = [one | {"latent_factors": 8} for one in some(spec, 3)]
        here.write(spec, configs, planned=planned, **more)
        session = here.call(*way)
        assert session is not None
        size = Size.of(session.split.train)
        return max(trial_bytes(config, size, 1) for config in spec.examples())

    def test_a_resume_on_small_nodes_is_refused_at_once(self, here, capsys, monkeypatch):
        most = self.narrow(here, "--resume", planned=6, stages=(), status="interrupted")
        place = [Place(memory=most)]
        monkeypatch.setattr(run_module, "check_place", lambda *_: place[0])
        resume = ("--resume", "--address", "there:1")
        assert here.call(*resume) is not None
        place[0] = Place(memory=most - 1)
        for way in (resume, (*resume, "--dry-run")):
            assert main(("--run", "r", *way)) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert "--run r: a new trial with bpr" in line
            assert "d=16" in line
            assert "and the node with the most memory offers 0.3 GB: expected a node with" in line
        place[0] = Place()  # no node is known yet
        assert here.call(*resume) is not None

    def test_a_wider_space_has_to_fit(self, here, capsys, monkeypatch):
        most = self.narrow(here, "--extend", "2", planned=3)
        monkeypatch.setattr(run_module, "check_place", lambda *_: Place(memory=most))
        more = ("--extend", "2", "--address", "there:1")
        assert here.call(*more) is not None
        wider = ("--set", "params.latent_factors.choice=[8, 16, 64]")
        assert main(("--run", "r", *more, *wider)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "d=64" in line
        assert line.endswith("(ray start --memory), or values of --set that need less")

    def test_where_nothing_fits_into_this_machine_that_is_said(self, here, capsys, monkeypatch):
        self.narrow(here, "--resume", planned=6, stages=(), status="interrupted")
        monkeypatch.setattr(run_module, "usable_memory", lambda: WORKER)
        assert main(("--run", "r", "--resume")) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "and this machine has 0.3 GB of memory: expected a machine with more" in line
