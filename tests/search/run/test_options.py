"""Every option is used or refused: by a new run, a resumed, an extended one, and each command."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict, fields
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from recsys.errors import ConfigError
from recsys.models.base import Size
from search.cli.arguments import COMMANDS, command_parser, search_parser
from search.cli.main import main
from search.machine.cluster import Failure, Resources
from search.machine.nodes import Place
from search.record.events import (
    SessionBegan,
    SessionEnded,
    StageMarked,
    StageState,
    State,
    Status,
    TrialEnded,
    TrialMade,
)
from search.record.settings import Settings
from search.run import start as run_module
from search.run.opened import open_data
from search.run.start import CHANGEABLE, KEPT, Options, machine_of, store_of
from search.space.load import load_run_spec, load_spec
from search.tune.pace import Probed
from search.tune.work import epoch_work
from tests.factories import journal_of

HERE = Path(__file__).parent
PLACE = {"run", "runs_dir", "resume", "extend", "dry_run"}


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A run of 60 users and 40 items that was interrupted; `go(...)` returns what would be run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "check_tracking_uri", lambda uri: uri)
    monkeypatch.setattr(run_module, "check_place", lambda *_: Place())
    data = tmp_path / "my.csv"
    rows = [f"u{u},i{(7 * u + 3 * k) % 40}" for u in range(60) for k in range(12)]
    data.write_text("user,item\n" + "\n".join(rows) + "\n")
    spec = load_spec("smoke")
    settings = Settings(
        str(data), None, None, 42, spec.trials, None, 1, 0.0, "cpu", None, None, None
    )
    settings = open_data(spec, settings, "r", lambda _: None).settings
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text(spec.to_yaml())
    journal_of(folder, SessionBegan(name="r", settings=asdict(settings)))
    return tmp_path


def go(monkeypatch, *args):
    """The settings, trials and data of the session that `args` would start."""
    seen = []
    monkeypatch.setattr(run_module, "_drive", lambda session: seen.append(session) or 0)
    assert main(args) == 0
    (session,) = seen
    return session


def refused(capsys, *args):
    """The line that `args` are refused with."""
    try:
        code = main(args)
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_table_has_every_option():
    assert {f.name for f in fields(Options)} == KEPT.keys() | CHANGEABLE.keys() | PLACE
    by_parser = {a.dest for a in search_parser()._actions} - {"help"}
    assert by_parser == {f.name for f in fields(Options)}


def test_every_command_has_a_parser_of_its_own():
    assert len({command_parser(name).description for name in COMMANDS}) == len(COMMANDS)
    with pytest.raises(ValueError, match="'new' has no parser"):
        command_parser("new")


def test_a_search_that_ends_by_itself(begun, monkeypatch, capsys):
    auto = ("--time-budget", "auto")
    session = go(monkeypatch, "--space", "smoke", "--data", "my.csv", *auto)
    assert session.settings.settles
    assert session.settings.time_budget == load_spec("smoke").time_budget
    assert go(monkeypatch, "--resume", "--run", "r", *auto).settings.settles
    assert not go(monkeypatch, "--resume", "--run", "r").settings.settles
    assert "--extend 5" in refused(capsys, "--run", "r", "--extend", "5", *auto)
    table = refused(capsys, "--space", "report_table", "--data", "my.csv", *auto)
    assert "a table makes all its trials" in table
    grid = refused(capsys, "--space", "smoke", "--data", "my.csv", "--set", "searcher=grid", *auto)
    assert "grid" in grid
    said = refused(capsys, "--space", "smoke", "--data", "my.csv", "--time-budget", "soon")
    assert "auto or none" in said


USED = {
    "time_budget": ("10m", 600.0),
    "cpus_per_trial": ("2", 2),
    "gpus_per_trial": ("0", 0.0),
    "device": ("cpu", "cpu"),
    "address": ("h:6379", "h:6379"),
    "storage": ("/mnt/x", "/mnt/x"),
    "tracking_uri": ("http://h:5000", "http://h:5000"),
    "submission_sep": (r"\t", "\t"),
    "system_metrics": (None, True),
}


@pytest.mark.parametrize("way", [("--resume",), ("--extend", "2")])
@pytest.mark.parametrize("name", CHANGEABLE)
def test_what_may_change_is_used_on_a_resume(begun, monkeypatch, way, name):
    if name in ("data", "min_rating", "columns"):
        return  # see below
    text, value = USED[name]
    said = (CHANGEABLE[name],) if text is None else (CHANGEABLE[name], text)
    session = go(monkeypatch, *way, "--run", "r", *said)
    assert getattr(session.settings, name) == value
    assert session.spec.trials == (2 if way[0] == "--extend" else 6)  # none has ended yet


@pytest.mark.parametrize("way", [("--resume",), ("--extend", "2")])
def test_a_run_of_a_cluster_goes_on_without_one(begun, capsys, monkeypatch, way):
    there = ("--address", "h:6379", "--space", "smoke", "--data", "my.csv")
    assert go(monkeypatch, *way, "--run", "r", *there[:2]).settings.address == "h:6379"
    assert go(monkeypatch, *way, "--run", "r", "--address", "none").settings.address is None
    assert "a run that goes on" in refused(capsys, *there[2:], "--address", "none")


@pytest.mark.parametrize("way", [("--resume",), ("--extend", "2")])
@pytest.mark.parametrize(
    ("flag", "text"),
    [
        *(("--space", "bpr_hard"), ("--seed", "42"), ("--trials", "9"), ("--set", "lr=0.1")),
        *(("--prefer", "small"), ("--warm-start", "r")),
    ],
)
def test_what_a_run_keeps_is_refused_by_name(begun, capsys, way, flag, text):
    said = refused(capsys, *way, "--run", "r", flag, text)
    if (way[0], flag) == ("--extend", "--set"):  # may widen a range, no more: see test_extend.py
        assert "only a range can change" in said
    else:
        assert f"leave out {flag}:" in said


def test_who_wins_the_race_is_a_setting_of_the_space(begun, monkeypatch):
    new = ("--space", "smoke", "--data", "my.csv")
    assert go(monkeypatch, *new, "--set", "lr=0.1").spec.race.prefer == "best"
    for said in (("--prefer", "small"), ("--set", "race.prefer=small")):
        session = go(monkeypatch, *new, "--set", "lr=0.1", *said)
        assert session.spec.race.smallest_wins
        assert "lr" not in [p.name for p in session.spec.searched()]
    assert go(monkeypatch, *new, "--prefer", "best").spec.digest() == load_spec("smoke").digest()


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize(("budget", "short"), [("5s", True), ("10m", False)])
def test_a_dry_run_says_what_a_trial_costs_and_how_long_a_search_takes(
    begun, monkeypatch, capsys, budget, short, measured
):
    """Also where the trials surely fit; and it promises none to a budget in which workers start."""
    resources = Resources(1, 0.0, 2, 2)
    cluster = MagicMock()
    cluster.return_value.__enter__.return_value.preflight.return_value = resources
    monkeypatch.setattr(run_module, "Cluster", cluster)

    def answers(function, tasks, resources, memory):
        """Epochs of 2 milliseconds."""
        size = Size(300, 200, 5_000)
        for n, (config, _, _, _) in enumerate(tasks):
            probed = Probed(config.kind, epoch_work(config, size), 0.002, 0.001, 300)
            yield n, probed if measured else Failure("no", "at length")

    cluster.return_value.__enter__.return_value.map.side_effect = answers
    new = ("--space", "smoke", "--data", "my.csv", "--time-budget", budget)
    assert main([*new, "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert ("may end before" in said) == short
    assert "MB beside the data" in said
    if measured:
        assert "a trial of 6 epochs takes about 0.0" in said
        assert "a whole search (--space smoke) takes " in said
        assert ("takes about 2" in said) == (not short)
    else:
        assert "not measured, but from a count of operations" in said


def test_a_dry_run_that_measures_for_long_says_so(begun, monkeypatch, capsys):
    """Nodes of a cluster that compile their kernels first take a minute or more."""
    cluster, said = MagicMock(), threading.Event()
    cluster.return_value.__enter__.return_value.preflight.return_value = Resources(1, 0.0, 2, 2)
    monkeypatch.setattr(run_module, "Cluster", cluster)
    monkeypatch.setattr(run_module, "SAY_AFTER_S", 0.01)
    note = run_module.Display.note

    def heard(display, line):
        note(display, line)
        if line.startswith("measuring what a trial costs, "):
            said.set()

    def measured(*_, **__):
        assert said.wait(60)

    monkeypatch.setattr(run_module.Display, "note", heard)
    monkeypatch.setattr("search.tune.probe.measure", measured)
    assert main(["--space", "smoke", "--data", "my.csv", "--dry-run"]) == 0
    line = "measuring what a trial costs, 0 s so far; kernels that are not compiled yet come first"
    assert line in capsys.readouterr().out


def test_a_dry_run_says_that_no_linear_model_is_compared_with(begun, monkeypatch, capsys):
    cluster, words = MagicMock(), "no linear model is compared with: on "
    cluster.return_value.__enter__.return_value.preflight.return_value = Resources(1, 0.0, 2, 2)
    monkeypatch.setattr(run_module, "Cluster", cluster)
    monkeypatch.setattr("search.tune.probe.measure", lambda *_, **__: None)
    new = ("--space", "smoke", "--data", "my.csv", "--dry-run")
    assert main(new) == 0
    assert words not in capsys.readouterr().out
    monkeypatch.setattr("search.tune.need.usable_memory", lambda: 1_000)
    assert main(new) == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("setting", ["race.up_to=9", "race={up_to: 9}"])
def test_more_splits_need_a_time_budget(begun, monkeypatch, capsys, setting):
    new = ("--space", "smoke", "--data", "my.csv", "--set", setting)
    for more, why in (
        (("--time-budget", "none"), "without a time budget"),
        (("--time-budget", "auto"), "with --time-budget auto"),
    ):
        said = refused(capsys, *new, *more)
        assert f"--set race.up_to=9: has no effect {why}" in said
    assert go(monkeypatch, *new, "--time-budget", "10m").spec.race.up_to == 9
    smoke = ("--space", "all", "--data", "my.csv", "--set", "metric=map@10", "--set", "k=10")
    session = go(monkeypatch, *smoke, "--time-budget", "none")
    assert session.spec.race.up_to == 12  # from the file, which may serve another search
    assert "race.up_to=12 has no effect without a time budget" in capsys.readouterr().out
    go(monkeypatch, *smoke)
    assert "up_to" not in capsys.readouterr().out


def test_a_table_needs_no_items_for_a_submission(begun, monkeypatch):
    table = ("--space", "report_table", "--data", "my.csv", "--set", "metric=map@10")
    assert go(monkeypatch, *table).spec.k > 40


def test_no_limit_takes_the_place_of_a_time_budget(begun, monkeypatch):
    session = go(monkeypatch, "--resume", "--run", "r", "--time-budget", "none")
    assert session.settings.time_budget is None


def test_an_exported_trial_needs_data_that_is_where_it_is_said_to_be(begun, capsys):
    trial = TrialMade(id="t0000", number=0, params={}, config={"lr": 0.1}, seed=1)
    end = TrialEnded(id="t0000", state=State.COMPLETE, value=0.1, best_epoch=1)
    journal_of(begun / "runs" / "r", trial, end)
    options = ("--trial", "t0000", "--data", "nofile.csv", "-o", "x.csv")
    assert "--data nofile.csv: no such file or folder" in refused(capsys, "export", "r", *options)


def test_data_that_moved_is_found_where_the_user_says(begun, monkeypatch, capsys):
    moved = begun / "elsewhere.csv"
    (begun / "my.csv").rename(moved)
    line = refused(capsys, "--resume", "--run", "r")
    assert "is no longer there: give its new place with --data PATH" in line
    line = refused(capsys, "--resume", "--run", "r", "--data", "nofile.csv")
    assert "--data nofile.csv: no such file or folder" in line
    assert "give its new place" not in line  # it was just given
    session = go(monkeypatch, "--resume", "--run", "r", "--data", "elsewhere.csv")
    assert session.settings.data == str(moved)
    go(
        monkeypatch,
        "--resume",
        "--run",
        "r",
        "--data",
        "elsewhere.csv",
        "--columns",
        "user=user,item=item",
    )


@pytest.mark.parametrize("change", ["a pair", "a user's name", "an item's name"])
@pytest.mark.parametrize("said", [True, False])
def test_other_data_is_refused(begun, capsys, change, said):
    path = begun / "my.csv"
    text = path.read_text()
    new = {
        "a pair": text + "u0,i39\n",
        "a user's name": text.replace("u59,", "u595,"),
        "an item's name": text.replace("i39\n", "i395\n"),
    }[change]
    path.write_text(new)
    line = refused(capsys, "--extend", "1", "--run", "r", *(("--data", "my.csv") if said else ()))
    assert "the data has changed since the run began" in line


def test_options_that_change_the_data_are_refused(begun, capsys):
    for more in (("--min-rating", "3"), ("--columns", "user=item,item=user")):
        assert "run_search.py: " in refused(capsys, "--resume", "--run", "r", *more)
    line = refused(capsys, "--resume", "--run", "r", "--data", "demo")
    assert "the data has changed" in line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--resume", "--extend", "2", "--run", "r"), "leave out --resume"),
        (("--resume", "--run", "runs/r", "--runs-dir", "runs"), "leave out --runs-dir"),
        (("--resume", "--run", "r", "--gpus-per-trial", "1", "--device", "cpu"), "no effect"),
        (("--resume", "--run", "r", "--run", "r"), "--run is given twice"),
        (("--res", "--run", "r"), "--res"),
        (("--resume", "--run", ""), "--run"),
        (("--space", "smoke", "--device", "cpu", "--gpus-per-trial", "0.5"), "no effect"),
        (("--space", "smoke", "--gpus-per-trial", "1.5"), "--gpus-per-trial"),
        (("--space", "smoke", "--trials", "5", "--trials", "6"), "--trials is given twice"),
        (
            ("--space", "smoke", "--set", "lr=0.1", "--set", "params.lr=0.2"),
            "--set lr is given twice",
        ),
        (("--space", "smoke", "--trials", "5", "--set", "trials=6"), "give only one of them"),
        (("--space", "smoke", "--prefer", "small", "--prefer", "best"), "--prefer is given twice"),
        (("--space", "smoke", "--prefer", "tiny"), "argument --prefer: "),
        (
            ("--space", "smoke", "--prefer", "small", "--set", "race.prefer=best"),
            "--prefer and --set race.prefer=...: give only one of them",
        ),
        (("--space", "all", "--prefer", "small"), "all with --prefer small, line "),
        (
            ("--space", "smoke", "--set", "race.finalists=0", "--prefer", "small"),
            "smoke with --set race.finalists=0 and --prefer small: race.prefer: ",
        ),
        (
            ("--space", "smoke", "--set", "race=none", "--prefer", "small"),
            "--prefer and --set race=...: give only one of them",
        ),
        (
            ("--space", "smoke", "--time-budget", "5m", "--set", "time_budget=6m"),
            "give only one of them",
        ),
        (("serch", "--space", "smoke"), "'serch' is not a command"),
        (("data", "--columns", "user=a"), "--columns needs a data set: data NAME|PATH"),
        (("data", "--min-rating", "3"), "--min-rating needs a data set: data NAME|PATH"),
        (("data", "demo", "--min-rating", "3"), "demo"),
        (("data", "demo", "--columns", "user=a"), "demo"),
        (("export", "r", "-o", "x.csv", "--data", "my.csv"), "--trial"),
        (("export", "runs/r", "--runs-dir", "runs", "-o", "x.csv"), "leave out --runs-dir"),
        (("report", "runs/r", "--runs-dir", "runs"), "leave out --runs-dir"),
        (("sync", "runs/r", "--runs-dir", "runs"), "leave out --runs-dir"),
        (("ui", "--port", "0"), "--port"),
        (("ui", "--port", "99999"), "--port"),
        (("sync", "r", "--ver"), "--ver"),
        (("spaces", "smoke", "smoke"), "smoke"),
    ],
)
def test_without_effect_is_refused(begun, capsys, args, words):
    assert words in refused(capsys, *args)


@pytest.mark.parametrize(
    "uri",
    [
        *("http://", "http://:80", "http://h\n", "http://h:99999999", "http://[::1", "http://h:x"),
        *(f"sqlite:////tmp/{'a' * 5000}", "\x1b", "http://h:0"),
    ],
)
def test_an_address_that_is_none_is_refused(begun, capsys, uri):
    for args in (("--space", "smoke"), ("sync", "r")):
        assert "--tracking-uri" in refused(capsys, *args, "--tracking-uri", uri)


def test_an_address_shows_no_password(begun, capsys):
    line = refused(capsys, "sync", "r", "--tracking-uri", "http://ann:secret@h:x")
    assert "secret" not in line


@pytest.mark.parametrize("words", [("--space", "smoke"), ("--resume", "--run", "r")])
def test_a_server_that_would_take_nothing_is_refused_before_the_search(
    begun, capsys, monkeypatch, words
):
    def check(uri):
        raise ConfigError(f"--tracking-uri {uri}: not under this name")

    monkeypatch.setattr(run_module, "check_name", check)
    line = refused(capsys, *words, "--tracking-uri", "http://mlflow:5000")
    assert line.endswith("--tracking-uri http://mlflow:5000: not under this name")
    assert [path.name for path in (begun / "runs").iterdir()] == ["r"]


def test_a_run_that_goes_on_does_not_ask_the_server_it_had(begun, monkeypatch):
    monkeypatch.setattr(run_module, "check_name", lambda _: pytest.fail("asked"))
    assert store_of(Options(), "http://mlflow:5000") == "http://mlflow:5000"


def test_a_finished_run_says_which_options_had_no_effect(begun, capsys):
    journal_of(begun / "runs" / "r", SessionEnded(status=Status.DONE))
    assert main(["--resume", "--run", "r", "--cpus-per-trial", "2", "--data", "my.csv"]) == 0
    out = capsys.readouterr().out
    assert "is finished, nothing is left to do" in out
    assert "note: --data, --cpus-per-trial had no effect" in out


def test_a_dry_run_of_a_resume_leaves_the_run_as_it_is(begun, monkeypatch, capsys):
    before = (begun / "runs" / "r" / "journal.jsonl").read_bytes()
    monkeypatch.setattr(run_module, "_dry_run", lambda *_: 0)
    assert main(["--resume", "--run", "r", "--dry-run"]) == 0
    assert (begun / "runs" / "r" / "journal.jsonl").read_bytes() == before


def test_device_and_gpus_go_together():
    settings = Settings("demo", None, None, 0, 1, None, 1, 0.5, "cpu", None, None, None)
    assert machine_of(Options(device="cpu"), settings, None) == (0.0, "cpu")
    assert machine_of(Options(gpus_per_trial=0.0), settings, None) == (0.0, "cpu")
    assert machine_of(Options(), None, None) == (0.0, "cpu")


def test_a_refused_run_does_not_take_its_name(begun, monkeypatch, capsys):
    from search.run.session import Session

    def grief(self):
        (self.folder.path / "spec.yaml").write_text("half")
        raise ConfigError("no such thing")

    monkeypatch.setattr(Session, "drive", grief)
    assert "no such thing" in refused(capsys, "--space", "smoke", "--data", "demo", "--run", "new")
    assert not (begun / "runs" / "new").exists()


@pytest.mark.parametrize("stem", ["my space", "a[1]+b", "größe", "x" * 120, "-", "ü", ".hidden.x"])
def test_a_space_of_any_file_name_is_readable_again(begun, monkeypatch, stem):
    text = (HERE.parents[2] / "spaces" / "smoke.yaml").read_text()
    path = begun / f"{stem}.yaml"
    path.write_text(text)
    session = go(monkeypatch, "--space", str(path), "--data", "demo", "--run", "n", "--trials", "3")
    (session.folder.path / "spec.yaml").write_text(session.spec.to_yaml())
    assert load_run_spec(session.folder.path) == session.spec


def test_a_run_of_a_space_with_a_blank_that_was_begun_before_is_read(begun):
    path = begun / "runs" / "r" / "spec.yaml"
    path.write_text(path.read_text().replace("name: smoke", 'name: "my space (2)"'))
    assert load_run_spec(begun / "runs" / "r").name == "my_space_2"


def test_a_space_that_is_long_when_written_out_is_read(begun):
    path = begun / "runs" / "r" / "spec.yaml"
    path.write_text(path.read_text() + "# " + "x" * 100_000 + "\n")
    assert load_run_spec(begun / "runs" / "r").name == "smoke"
    with pytest.raises(ConfigError, match="larger than"):
        load_spec(str(path))


@pytest.mark.parametrize("name", [b"a b.csv", "покупки.csv".encode(), b"a\nb.csv"])
def test_data_with_odd_names_is_read_and_read_again(begun, monkeypatch, name):
    path = begun / name.decode(errors="surrogateescape")
    (begun / "my.csv").rename(path)
    session = go(monkeypatch, "--space", "smoke", "--data", str(path), "--run", "odd")
    session.folder.write("spec.yaml", session.spec.to_yaml())
    session.folder.write_json("provenance.json", asdict(session.settings))
    known = json.loads((session.folder.path / "provenance.json").read_text(encoding="utf-8"))
    assert Path(known["data"]) == path
    assert session.dataset.interactions.name.isprintable()
    with session.folder.journal() as journal:
        journal.append(SessionBegan(settings=asdict(session.settings), name="odd"))
    session.folder.close()
    again = go(monkeypatch, "--resume", "--run", "odd")
    assert again.settings.data == str(path)


def test_a_separator_is_one_character(begun, capsys):
    for text in ("", "ab", "7", '"', "\u00a0"):
        line = refused(capsys, "--space", "smoke", "--submission-sep", text)
        assert "--submission-sep" in line
        assert "expected one printable character" in line
    line = refused(capsys, "--space", "smoke", "--set", "purpose=table", "--submission-sep", "|")
    assert "--submission-sep: has no effect" in line


@pytest.mark.parametrize("kept", ["|", None])
def test_export_writes_the_submission_with_another_separator(begun, capsys, kept):
    folder = begun / "runs" / "r"
    mark = kept or " "
    (folder / "submission.csv").write_text(f'UserId,ItemId\nu0,"i1{mark}""i 2""{mark}i3"\n')
    data = {"rows": 1} | ({} if kept is None else {"separator": kept})
    journal_of(folder, StageMarked(name="refit", state=StageState.DONE, data=data))
    for text, wanted in ((";", "u0,i1;i 2;i3"), (r"\t", "u0,i1\ti 2\ti3")):
        assert main(["export", "r", "-o", "out.csv", "--submission-sep", text]) == 0
        assert (begun / "out.csv").read_text() == f"UserId,ItemId\n{wanted}\n"
    assert main(["export", "r", "-o", "out.csv"]) == 0
    assert (begun / "out.csv").read_bytes() == (folder / "submission.csv").read_bytes()


def test_users_to_be_served_are_part_of_the_data(tmp_path):
    from search.run.opened import read_data

    spec = load_spec("smoke")
    settings = Settings(
        str(tmp_path), None, None, 42, spec.trials, None, 1, 0.0, "cpu", None, None, None
    )
    rows = [f"u{u},i{(7 * u + 3 * k) % 40}" for u in range(60) for k in range(12)]
    (tmp_path / "train.csv").write_text("user,item\n" + "\n".join(rows) + "\n")
    digests = set()
    for users in ("u1\nu2\n", "u1\nu3\n", None):
        (tmp_path / "test.csv").unlink(missing_ok=True)
        if users is not None:
            (tmp_path / "test.csv").write_text("user\n" + users)
        opened = open_data(spec, settings, "r", lambda _: None)
        assert (read_data(settings, "r", lambda _: None).receivers is None) == (users is None)
        digests.add(opened.settings.ids_digest)
    assert len(digests) == 3


def test_there_is_one_door_to_the_data_of_a_run():
    doors = [
        path.name
        for path in (HERE.parents[2] / "search").rglob("*.py")
        if re.search(r"from recsys\.data(\.source)? import [^\n]*\bload\b", path.read_text())
    ]
    assert sorted(doors) == ["commands.py", "opened.py"]  # commands: `data` has no run
