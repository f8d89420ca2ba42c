"""How a search looks in MLflow: names, views, description, data sets, tables."""

from __future__ import annotations

import base64
import csv
import json
import math
import zlib
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import ConfigError
from recsys.models import MODELS, config_from_flat
from search.record.events import (
    Reason,
    ReplicateRaced,
    SessionBegan,
    State,
    Status,
    TrialBegan,
    TrialEnded,
    TrialMade,
)
from search.record.journal import read_state
from search.record.result import RefitOf
from search.record.state import RunState
from search.space.load import load_spec
from search.summary import winner_words
from search.tracking import wanted
from search.tracking.description import _REASONS, NOTE_TAG, description, trial_page
from search.tracking.memory import Delivered
from search.tracking.store import import_mlflow, open_store
from search.tracking.ui import run_page
from search.tracking.ui_server import first_page
from search.tracking.verify import verify_delivery
from search.tracking.views import VIEW_TAG, Page, _searches, _view, experiment_tags, trials_key
from search.tracking.where import EXPERIMENT
from tests.factories import BLENDED, SETTINGS, FakeRun, fake_run
from tests.search.tracking.tracking_help import deliver, query, sqlite_store

LABELS = {
    "bpr-hard d=256 N=47 M=10 K=2": {
        "neg_mode": "hard",
        "num_candidate_neg_samples": 47,
        "num_hard_neg_samples": 10,
        "num_random_neg_samples": 2,
        "latent_factors": 256,
        "lr": 0.1,
    },
    "bce-fixed d=64 n=300": {"loss": "bce", "neg_mode": "fixed", "neg_sample_num": 300, "lr": 0.1},
    "softmax-even d=8": {"loss": "softmax", "latent_factors": 8, "lr": 0.1},
    "ease l2=250": {"model": "ease"},
    "item-knn k=100 shrink=10": {"model": "item_knn"},
    "ials d=64 alpha=0.1 l2=0.003": {"model": "ials"},
    "rp3beta k=200 alpha=0.8 beta=0.4": {"model": "rp3beta"},
    "slim k=200 l2=100": {"model": "slim"},
    "popularity": {"model": "popularity"},
}


def test_every_kind_of_model_has_its_short_words() -> None:
    configs = {label: config_from_flat(flat) for label, flat in LABELS.items()}
    assert {config.model for config in configs.values()} == MODELS.keys()
    for label, config in configs.items():
        assert config.label() == label


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunState]:
    path = fake_run(tmp_path_factory.mktemp("runs"))
    return path, read_state(path / "journal.jsonl")


def test_names_say_what_they_are(done: tuple[Path, RunState]) -> None:
    path, state = done
    name = wanted.run_name(state)
    parts = name.split(" · ")
    assert parts[-3] == state.run.space
    assert parts[-1].startswith("20")
    if not wanted._MADE_UP.search(path.name):
        assert parts[0] == path.name


def test_a_trial_is_called_by_its_config(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "a")
    name = run.trial()
    run.close()
    trial = read_state(run.path / "journal.jsonl").trials[name]
    assert trial.title == "t0000 bpr-even d=64"


def test_a_config_of_another_version_leaves_the_id(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "a")
    name = run.made({}, {"invention": 1})
    run.close()
    assert read_state(run.path / "journal.jsonl").trials[name].title == name


def view_of(tags: dict[str, str], key: str) -> dict[str, Any]:
    view = json.loads(tags[VIEW_TAG + key])
    assert view["name"]
    assert isinstance(view["createdAt"], int)
    state = view["state"]
    if state.startswith("deflate;"):
        state = zlib.decompress(base64.b64decode(state.removeprefix("deflate;")))
    found: dict[str, Any] = json.loads(state)
    return found


def test_the_view_of_trials(done: tuple[Path, RunState]) -> None:
    _, state = done
    tags = experiment_tags(state, "abc")
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert max(map(len, tags.values())) < 5000  # what older servers keep
    view = view_of(tags, trials_key(state))
    assert view["searchFilter"] == "tags.`mlflow.parentRunId` = 'abc'"
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`best_value`", False)
    params = {name for trial in state.in_order() for name in wanted.trial_params(trial)}
    columns = [c.removeprefix("params.")[1:-1] for c in view["selectedColumns"] if "params." in c]
    assert columns
    assert params.issuperset(columns)
    line, parallel = view["compareRunCharts"]
    assert line["metricKey"] == wanted.clean(state.run.metric or "")
    assert params.issuperset(parallel["selectedParams"])
    assert len({line["uuid"], parallel["uuid"], line["metricSectionId"]}) == 3
    assert titles(view) == ["map@50 by epoch", "parameters and best map@50"]
    assert experiment_tags(state, "abc") == tags  # the same, whenever it is asked for


def titles(view: dict[str, Any]) -> list[str]:
    """What stands above the charts, one each, in their order."""
    sections = view["compareRunSections"]
    assert [one["uuid"] for one in sections] == [
        chart["metricSectionId"] for chart in view["compareRunCharts"]
    ]
    assert view["isAccordionReordered"]  # else they would be sorted by name
    return [one["name"] for one in sections]


def test_each_method_has_a_chart_of_its_own_parameters(tmp_path: Path) -> None:
    """In a space of methods hardly a parameter is one of all trials."""
    run, spec = FakeRun(tmp_path, "a"), load_spec("all")
    decides = spec.deciding()
    assert decides is not None
    run.began(deciding=decides.name)
    rng = np.random.default_rng(0)
    for _ in range(150):
        run.made(spec.sample(rng), {})
    run.close()
    state = read_state(run.path / "journal.jsonl")
    tags = experiment_tags(state, 32 * "a")
    assert max(map(len, tags.values())) < 5000
    view = view_of(tags, trials_key(state))
    curves, *parallel = view["compareRunCharts"]
    assert curves["type"] == "LINE"
    methods = {str(trial.params["method"]) for trial in state.in_order()}
    assert len(methods) == 9
    assert set(titles(view)) == {
        "map@50 by epoch (best 100 of 150)",  # as many as MLflow loads
        "parameters and best map@50 (best 100 of 150)",
        *(f"method {name} and best map@50 (best 100 of 150)" for name in methods),
    }
    for title, chart in zip(titles(view)[2:], parallel[1:], strict=True):
        method, *own = chart["selectedParams"]
        assert method == "method"
        of = [t for t in state.in_order() if t.params["method"] == title.split()[1]]
        assert own
        assert all(wanted.trial_params(trial).keys() >= {*own} for trial in of)
    assert "ials_alpha" in str(parallel)


def test_trials_that_do_not_differ_have_no_parallel_coordinates(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "a")  # as a refit leaves it
    run.made({"lr": 0.1}, {"lr": 0.1})
    run.close()
    state = read_state(run.path / "journal.jsonl")
    view = view_of(experiment_tags(state, "abc"), trials_key(state))
    assert [chart["type"] for chart in view["compareRunCharts"]] == ["LINE"]


def test_what_a_window_of_1280_has_room_for_comes_first() -> None:
    view = json.loads(json.loads(_view("a", 0, _searches()))["state"])
    assert {*view["selectedColumns"]} < {*view["columnOrder"]}
    assert view["columnWidths"].keys() == {*view["columnOrder"]}
    room = 1280 - 254 - 75  # MLflow's menu and margins, its boxes to tick
    shown = []
    for name in view["columnOrder"]:
        room -= view["columnWidths"][name]
        if room >= 0:
            shown.append(name)
    first = "metrics.`handed.test` metrics.`valid` tags.`winner` metrics.`wall_s`"
    assert first in " ".join(shown)
    assert [chart["metricKey"] for chart in view["compareRunCharts"]] == ["handed.test"]


def test_only_parameters_that_differ_are_columns(tmp_path: Path) -> None:
    from search.tracking.views import searched_params

    run = FakeRun(tmp_path, "a")
    for number in range(4):
        more = {"margin": number} if number else {}
        run.made({"lr": number / 10, "same": 1, **more}, {"lr": 0.1})
    run.close()
    assert searched_params(read_state(run.path / "journal.jsonl")) == (["lr"], ["margin"])


def test_the_description_has_verdict_table_and_links(done: tuple[Path, RunState]) -> None:
    path, state = done
    result = wanted.known_result(path)
    assert result is not None
    assert result.test is not None
    text = description(state, result, Page("7", "abc"))
    assert text.splitlines()[0].startswith(f"{winner_words(result)} reaches")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(result.baselines)
    values = [float(row.split("|")[2]) for row in rows[1:]]
    assert values == sorted(values, reverse=True)
    assert f"| **{wanted.winner_name(state, result)}** | {result.test:.4f} |" in text
    assert f"(#/experiments/7/runs?viewStateShareKey={trials_key(state)}&" in text
    assert "(#/experiments/7/runs/abc/artifacts/report.html)" in text
    assert "is running" in description(state, None, Page("7", "abc"))


def test_a_blend_that_is_handed_over_stands_out_in_the_table(tmp_path: Path) -> None:
    path = fake_run(tmp_path, trials=8, result_changes=BLENDED)
    state, result = read_state(path / "journal.jsonl"), wanted.known_result(path)
    assert result is not None
    rows = description(state, result, Page("7", "abc")).splitlines()
    assert "| **blend of 3** | 0.1763 | 0.1672 to 0.1854 |" in rows
    assert f"| {wanted.winner_name(state, result)} | 0.1702 | 0.1611 to 0.1795 |" in rows
    again = result.model_copy(update={"refit_of": RefitOf(run="r"), "test": 0.1763})
    rows = description(state, again, Page("7", "abc")).splitlines()
    assert rows[0].startswith("A blend of 3, the winner of r trained again on ml-100k, reaches")
    assert len([row for row in rows if " 0.1763 |" in row]) == 1


def finished(tmp_path: Path) -> tuple[FakeRun, str]:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.several(3)
    run.finish()
    run.close()
    assert deliver(run, uri)
    return run, uri


def test_what_stands_around_a_run_arrives_once_and_is_verified(tmp_path: Path) -> None:
    run, uri = finished(tmp_path)
    assert verify_delivery(run.path, uri) == []
    count = "select (select count(*) from datasets), (select count(*) from inputs)"
    assert query(uri, count) == [(3, 3 + 3 * 2)]  # trials know no test items
    (run.path / "delivery.json").unlink()
    assert deliver(run, uri)
    assert query(uri, count) == [(3, 3 + 3 * 2)]
    query(uri, "update experiment_tags set value = 'x' where key like '%searches'")
    query(uri, "update runs set name = 'mine' where name like 't0001 %'")
    query(uri, "delete from inputs where rowid in (select rowid from inputs limit 1)")
    for path in (tmp_path / "store" / "artifacts").rglob("race.json"):
        path.write_text("{}")
    found = "\n".join(verify_delivery(run.path, uri))
    for part in ("tag mlflow.sharedViewState.searches", "t0001: name", "no data set", "race.json"):
        assert part in found, found


def test_a_run_delivered_by_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """It called trials by their ids alone, knew of no views, said nothing of trials and called
    pruned ones killed.
    """
    run, uri = finished(tmp_path)
    of_trials = "and run_uuid in (select run_uuid from runs where name like 't0%')"
    query(uri, f"delete from tags where key = ? {of_trials}", NOTE_TAG)
    killed = "update runs set status = 'KILLED' where run_uuid in (select run_uuid from tags "
    query(uri, killed + "where key = 'state' and value = 'PRUNED')")
    query(uri, "update runs set name = substr(name, 1, 5) where name like 't0%'")
    query(uri, "delete from experiment_tags")
    query(uri, "delete from inputs")
    memory = json.loads((run.path / "delivery.json").read_text())
    del memory["around_sent"]
    for child in memory["children"].values():
        del child["name"]
    memory["parent_sent"] = json.dumps(json.loads(memory["parent_sent"])[:3])
    (run.path / "delivery.json").write_text(json.dumps(memory))
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []


def test_the_page_of_a_trial_says_what_it_was_and_why_it_ended(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "a")
    run.several(3)
    running = run.begin()
    run.close()
    state = read_state(run.path / "journal.jsonl")
    notes = {trial.id: trial_page(trial, state)[NOTE_TAG] for trial in state.in_order()}
    lr = {trial.id: f"lr={trial.params['lr']:.4g} hard_fraction=0.25" for trial in state.in_order()}
    best = {trial.id: f"Best map@50 {trial.value or 0:.4f} at epoch" for trial in state.in_order()}
    assert notes == {
        "t0000": f"{lr['t0000']}. {best['t0000']} 1 of 2. Completed: it had stopped getting better",
        "t0001": f"{lr['t0001']}. {best['t0001']} 2 of 3. Pruned: others were ahead after as many "
        "epochs",
        "t0002": f"{lr['t0002']}. Failed: it raised an error (DivergedError: NaN in epoch 2)",
        running: lr[running],
    }


def test_every_reason_has_its_words() -> None:
    assert set(_REASONS) == set(Reason)


def test_what_somebody_wrote_about_a_trial_stays(tmp_path: Path) -> None:
    run, uri = finished(tmp_path)
    query(uri, "update tags set value = 'mine' where key = ? and value like 'lr=%'", NOTE_TAG)
    assert deliver(run, uri)
    said = query(uri, "select count(*) from tags where key = ? and value = 'mine'", NOTE_TAG)
    assert said == [(3,)]


def test_parts_of_the_data_have_their_own_digests_and_sizes(tmp_path: Path) -> None:
    state = RunState()
    parts = {
        name: {"digest": f"d{n}", "users": 3, "items": 4, "pairs": 5 + n}
        for n, name in enumerate(("train", "valid"))
    }
    began = SessionBegan(
        time=1.0, settings=asdict(SETTINGS), split_digest="ab12", dataset="ml-100k"
    )
    state.apply(replace(began, parts=parts), 0)
    found = wanted.data_parts(state)
    assert [(one.name, one.digest, one.context) for one in found] == [
        ("ml-100k, train", "d0", "training"),
        ("ml-100k, valid", "d1", "validation"),
    ]
    assert json.loads(found[0].profile) == {"users": 3, "items": 4, "pairs": 5}
    earlier = RunState()
    earlier.apply(began, 0)
    assert [(one.digest, one.profile) for one in wanted.data_parts(earlier)] == [("ab12", "")] * 3


def test_a_resumed_run_keeps_the_data_sets_that_it_has(tmp_path: Path) -> None:
    """The version that began it said nothing of parts; MLflow would have two of each context."""
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.trial()
    assert deliver(run, uri)
    parts = {name: {"digest": f"d-{name}", "pairs": 5} for name in ("train", "valid", "test")}
    run.began(dataset="ml-100k", parts=parts)
    run.trial()
    run.finish()
    run.close()
    assert deliver(run, uri)
    assert query(uri, "select name, digest from datasets order by name") == [
        (f"ml-100k, {part}", "ab12") for part in ("test", "train", "valid")
    ]
    assert verify_delivery(run.path, uri) == []


def test_views_that_somebody_removed_come_back(tmp_path: Path) -> None:
    run, uri = finished(tmp_path)
    query(uri, "delete from experiment_tags where key like '%searches'")
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []


def test_a_trial_is_tagged_with_where_it_ran(tmp_path: Path) -> None:
    with closing(FakeRun(tmp_path, "r")) as run:
        here, there = run.begin(), run.begin()
        run.journal.append(TrialBegan(id=there, attempt=1, node="w1 (10.0.0.2)"))
        run.over(here, State.COMPLETE, value=0.5)
        run.over(there, State.COMPLETE, value=0.5, device="cuda")
        state = run.folder.state()
    tags = [wanted.trial_tags(state.trials[name], state) for name in (here, there)]
    assert [tag.get("node") for tag in tags] == [None, "w1 (10.0.0.2)"]
    assert [tag["device"] for tag in tags] == ["cpu", "cuda"]  # the first: as it was asked for


def test_tables_are_those_that_mlflow_reads(tmp_path: Path) -> None:
    run, uri = finished(tmp_path)
    store = open_store(uri, EXPERIMENT)
    memory = Delivered.read(run.path)
    assert memory is not None
    import_mlflow(uri).set_tracking_uri(uri)  # it searches there, whatever its client has
    table = store.client.load_table(store.experiment_id, "trials.json", [memory.run_id])
    assert table["id"].tolist() == ["t0000", "t0001", "t0002"]
    assert table["epochs"].tolist() == [2, 3, 4]
    assert "report.html" in store.client.get_run(memory.run_id).data.tags[NOTE_TAG]


SEED = 6917529027641081857  # 63 bits, as the seeds of trials: no float has these digits


def seeded(tmp_path: Path) -> tuple[FakeRun, str]:
    """A finished run with a seed of 63 bits, in a trial and in the race, and words like numbers."""
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.journal.append(
        TrialMade(
            id="t0000",
            number=0,
            params={"lr": 0.1, "word": "1e3", "none": None, "flag": True, "inf": math.inf},
            config={"lr": 0.1},
            seed=SEED,
        )
    )
    run.journal.append(TrialBegan(id="t0000", attempt=1))
    run.journal.append(TrialEnded(id="t0000", state=State.FAILED, cause="12", epochs=3))
    raced = ReplicateRaced(config_id="t0000", replicate=0, split_seed=SEED - 1, value=0.25)
    run.journal.append(raced)
    run.folder.write_tables()
    run.ended(Status.DONE)
    run.close()
    assert deliver(run, uri)
    return run, uri


def sent(tmp_path: Path, name: str) -> dict[str, list[Any]]:
    """A table in the store, by its columns."""
    (path,) = (tmp_path / "store" / "artifacts").rglob(name)
    table = json.loads(path.read_text())
    return {c: [row[n] for row in table["data"]] for n, c in enumerate(table["columns"])}


def test_tables_have_the_types_of_the_journal(tmp_path: Path) -> None:
    run, uri = seeded(tmp_path)
    trials = sent(tmp_path, "trials.json")
    with (run.path / "trials.csv").open(newline="") as file:
        assert list(trials) == next(csv.reader(file))
    assert trials["seed"] == [SEED]
    assert [type(trials[name][0]) for name in ("number", "epochs", "param.lr")] == [int, int, float]
    assert trials["param.word"] == ["1e3"]
    assert trials["error"] == ["12"]
    assert trials["param.none"] == trials["value"] == [None]
    assert trials["param.flag"] == [True]
    race = sent(tmp_path, "race.json")
    with (run.path / "race.csv").open(newline="") as file:
        assert list(race) == next(csv.reader(file))
    assert (race["split_seed"], race["value"]) == ([SEED - 1], [0.25])
    store, memory = open_store(uri, EXPERIMENT), Delivered.read(run.path)
    assert memory is not None
    import_mlflow(uri).set_tracking_uri(uri)
    table = store.client.load_table(store.experiment_id, "trials.json", [memory.run_id])
    assert table["seed"].tolist() == [SEED]


def test_tables_that_an_earlier_version_sent_are_replaced_once(tmp_path: Path) -> None:
    """They were read from the CSV files, every number as a float; of them nothing was noted."""
    run, uri = seeded(tmp_path)
    (path,) = (tmp_path / "store" / "artifacts").rglob("trials.json")
    good = path.read_text()
    path.write_text(good.replace(str(SEED), str(float(SEED))))
    memory = json.loads((run.path / "delivery.json").read_text())
    for name in wanted.TABLES:
        del memory["artifacts"][name]
    (run.path / "delivery.json").write_text(json.dumps(memory))
    assert any("trials.json" in line for line in verify_delivery(run.path, uri))
    assert deliver(run, uri)
    assert path.read_text() == good
    assert verify_delivery(run.path, uri) == []
    before = path.stat().st_mtime_ns
    assert deliver(run, uri)  # and not again
    assert path.stat().st_mtime_ns == before
    path.unlink()
    assert deliver(run, uri)
    assert path.read_text() == good


def test_the_address_of_a_run(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.trial()
    with pytest.raises(ConfigError, match=r"MLflow has nothing of run a: deliver it with .*sync"):
        run_page(run.path, uri)
    assert deliver(run, uri)
    run.close()
    state = read_state(run.path / "journal.jsonl")
    assert run_page(run.path, uri).endswith(
        f"/runs?viewStateShareKey={trials_key(state)}&workflowType=machine_learning"
    )


def test_pages_open_on_model_training() -> None:
    html = "<html><head><title>x</title></head></html>"
    changed = first_page(html)
    assert "machine_learning" in changed
    assert changed.endswith("<title>x</title></head></html>")
    assert first_page("no page") == "no page"
