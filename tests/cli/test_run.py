"""The whole way on the generated data: the command a newcomer types first."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import optuna
import pytest

from benchmarks.equal_minutes import read
from recsys.data import load
from search.cli.main import main
from search.record.folder import RunFolder
from tests.search.fake_search import open_study, records

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smoke")]


@pytest.fixture(scope="module")
def run(cli, smoke, tmp_path_factory) -> Path:
    """A copy of the run `one` as the search left it."""
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    return shutil.copytree(cli.runs / "one", tmp_path_factory.mktemp("left") / "one")


@pytest.fixture(scope="module")
def live(cli, run) -> Path:  # copied before anybody changes it
    """The run `one`, which some of these tests change."""
    return cli.runs / "one"


def test_the_screen_shows_the_result_and_no_noise(smoke, run):
    assert smoke.stderr == ""
    for words in ("winner", "validation", "test", "popularity", "EASE", "gain", "next"):
        assert words in smoke.stdout
    assert not re.search(r"\x1b\[|ray::|mlflow\.|WARNING|INFO|Traceback", smoke.stdout)


def test_the_run_folder_is_complete(run):
    names = {p.name for p in run.iterdir()}
    expected = "spec.yaml provenance.json trials.csv epochs.csv race.csv best.json result.json"
    assert {*expected.split(), "report.html", "submission.csv", "model"} <= names


def test_the_result_says_what_the_design_promises(run):
    result = json.loads((run / "result.json").read_text())
    keys = "metric valid test test_ci split negatives_exclude baselines best_config best_epoch"
    assert {*keys.split(), "trials", "wall_s", "busy_fraction", "race"} <= result.keys()
    assert result["test_reads"] == 1
    assert result["negatives_exclude"] == "train"
    low, high = result["test_ci"]
    assert low < result["test"] < high
    assert result["test"] > result["baselines"]["popularity"]["test"]
    assert sum(result["trials"].values()) == 6
    assert 0 < result["busy_fraction"] <= 1


def test_a_benchmark_reads_what_was_handed_over(run):
    result, found = json.loads((run / "result.json").read_text()), read(run)
    assert found.values.mean() == pytest.approx(result["test"])
    assert (found.alone, found.trials, found.blend) == (pytest.approx(result["test"]), 6, False)
    assert found.seconds == pytest.approx(result["wall_s"], abs=60)  # lines came after it
    assert len(found.users) == len(found.values)


@pytest.mark.parametrize("content", [None, b"", b"{torn"])
def test_a_result_that_is_lost_is_made_again_from_the_journal(run, cli, capsys, tmp_path, content):
    """A report without it would deny what was found; the journal knows it all, without the data."""
    lost = tmp_path / "lost" / run.name
    shutil.copytree(run, lost)
    before = json.loads((lost / "result.json").read_text())
    page = (lost / "report.html").read_bytes()
    if content is None:
        (lost / "result.json").unlink()
    else:
        (lost / "result.json").write_bytes(content)
        (lost / "provenance.json").write_bytes(content)
    for args in (
        ("report", str(lost)),
        ("compare", str(lost), str(run), "-o", str(tmp_path / "c.html")),
    ):
        assert main(args) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "result.json" in line
        assert "--resume --run one" in line and f"{lost.parent}` makes it again" in line
    assert (lost / "report.html").read_bytes() == page
    assert main(["--resume", "--run", str(lost)]) == 0
    assert "result.json was lost, and is made again" in capsys.readouterr().out
    after = json.loads((lost / "result.json").read_text())
    assert before.pop("busy_fraction") > 0  # the journal does not know the cores
    assert after.pop("wall_s") >= before.pop("wall_s")
    assert after == before
    assert main(["report", str(lost)]) == 0


def test_the_submission_has_every_user_and_unseen_items(run):
    data = load("demo", seed=42).interactions
    with (run / "submission.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["UserId", "ItemId"]
    assert [int(r[0]) for r in rows] == data.user_ids.tolist()
    for user, (_, items) in enumerate(rows):
        listed = [int(i) for i in items.split(" ")]
        seen = set(data.item_ids[data.csr.row(user)].tolist())
        assert len(set(listed)) == len(listed) == 10
        assert not seen & set(listed)


def test_journal_optuna_and_tables_agree(run):
    state = RunFolder.open(run.parent, run.name).state()
    study = records(open_study(run / "study.journal"))
    with (run / "trials.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [t.state for t in state.in_order()] == [t.state for t in study]
    assert [t.params for t in state.in_order()] == [t.params for t in study]
    assert [t.id for t in state.in_order()] == [row["id"] for row in table]
    assert [t.state for t in state.in_order()] == [row["state"] for row in table]
    assert optuna.trial.TrialState.RUNNING not in {t.state for t in study}
    complete = [t for t in study if t.state == "COMPLETE"]
    for trial in complete:
        assert trial.value == max(value for _, value in trial.steps)


def test_mlflow_has_all_of_it(command, live):
    assert "everything" in command("sync", "one", "--verify")


def test_export_copies_the_submission(cli, live):
    done = cli("export", "one", "-o", "mine.csv", "--runs-dir", str(cli.runs))
    assert done.returncode == 0, done.stderr
    assert (cli.home / "mine.csv").read_bytes() == (live / "submission.csv").read_bytes()


def test_export_of_a_trial_trains_it_again(cli, command, live):
    for name in ("a.csv", "b.csv"):
        command("export", "one", "--trial", "t0000", "-o", name)
    first, second = (cli.home / "a.csv").read_text(), (cli.home / "b.csv").read_text()
    assert first == second
    assert len(first.splitlines()) == 301


def test_export_of_the_best_trial_is_the_submission(cli, command, live):
    command("export", "one", "--trial", "best", "-o", "best.csv")
    assert (cli.home / "best.csv").read_bytes() == (live / "submission.csv").read_bytes()


def test_report_can_be_written_anew(command, live):
    (live / "report.html").unlink()
    command("report", "one")
    assert "<html" in (live / "report.html").read_text()


def test_resuming_a_finished_run_does_nothing_and_says_so(command, live):
    def files() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in live.glob("*.*") if p.suffix != ".lock"}

    before = files()
    said = command("--resume", "--run", "one")
    assert "finished" in said
    assert "--extend" in said
    assert files() == before


def test_extend_adds_trials_to_the_same_study(cli, command, live):
    done = cli.search("--run", "one", "--extend", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    state = RunFolder.open(cli.runs, "one").state()
    assert [t.id for t in state.in_order()] == [f"t{n:04d}" for n in range(8)]
    assert len(records(open_study(live / "study.journal"))) == 8
    assert "everything" in command("sync", "one", "--verify")
