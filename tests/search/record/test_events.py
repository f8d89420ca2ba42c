"""The events of a journal: what their lines look like, and that lines of earlier runs read."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from search.record.events import (
    _KINDS,
    EpochsReported,
    Event,
    MachineSeen,
    Other,
    PaceSet,
    RacePlanned,
    Reason,
    ReplicateRaced,
    RivalChosen,
    SessionBegan,
    SessionEnded,
    StageMarked,
    StageState,
    State,
    Status,
    TrialBegan,
    TrialEnded,
    TrialMade,
    read,
    write,
)
from search.record.state import RunState

# A line a kind as it stands in the journals of every version so far, and what it means.
LINES: list[tuple[str, Event]] = [
    (
        '{"t":"run","name":"a","space":"smoke","spec_digest":"3e","settings":{"data":"demo",'
        '"columns":null},"dataset":"demo","metric":"map@50","purpose":"search","split":"s",'
        '"split_digest":"80","device":"cpu","seed":42,"time":1.5}',
        SessionBegan(
            name="a", space="smoke", spec_digest="3e", settings={"data": "demo", "columns": None},
            dataset="demo", metric="map@50", purpose="search", split="s", split_digest="80",
            device="cpu", seed=42, time=1.5,
        ),
    ),
    (
        '{"t":"pace","rates":{"bpr hard":1e-09},"trial_seconds":46.5,"eval_seconds":0.25,'
        '"users":3000,"time":1.5}',
        PaceSet(
            rates={"bpr hard": 1e-9}, trial_seconds=46.5, eval_seconds=0.25, users=3000, time=1.5
        ),
    ),
    (
        '{"t":"pace","rates":{"bpr hard":1e-09},"trial_seconds":46.5,"eval_seconds":0.25,'
        '"growths":{"bpr hard":[1000.0,4000.0,1.5]},"time":1.5}',
        PaceSet(
            rates={"bpr hard": 1e-9}, trial_seconds=46.5, eval_seconds=0.25,
            growths={"bpr hard": [1000.0, 4000.0, 1.5]}, time=1.5,
        ),
    ),
    (
        '{"t":"machine","cpu_percent":81.5,"memory_mb":2048.5,"memory_percent":25.1,"time":1.5}',
        MachineSeen(cpu_percent=81.5, memory_mb=2048.5, memory_percent=25.1, time=1.5),
    ),
    (
        '{"t":"trial","id":"t0000","number":0,"params":{"lr":0.1},"config":{"lr":0.1},"seed":7,'
        '"time":1.5}',
        TrialMade(id="t0000", number=0, params={"lr": 0.1}, config={"lr": 0.1}, seed=7, time=1.5),
    ),
    (
        '{"t":"start","id":"t0000","attempt":1,"time":1.5}',
        TrialBegan(id="t0000", attempt=1, time=1.5),
    ),
    (
        '{"t":"start","id":"t0000","attempt":2,"node":"w1 (10.0.0.2)","time":1.5}',
        TrialBegan(id="t0000", attempt=2, node="w1 (10.0.0.2)", time=1.5),
    ),
    (
        '{"t":"epochs","id":"t0000","attempt":1,"columns":["epoch","loss"],"rows":[[1,null]],'
        '"time":1.5}',
        EpochsReported(
            id="t0000", attempt=1, columns=("epoch", "loss"), rows=[[1, None]], time=1.5
        ),
    ),
    (
        '{"t":"end","id":"t0000","state":"COMPLETE","reason":"patience","value":0.5,'
        '"best_epoch":2,"epochs":12,"busy_s":1.5,"error":null,"cause":null,"test":null,"time":1.5}',
        TrialEnded(
            id="t0000", state=State.COMPLETE, reason=Reason.PATIENCE, value=0.5, best_epoch=2,
            epochs=12, busy_s=1.5, time=1.5,
        ),
    ),
    (
        '{"t":"end","id":"t0000","state":"FAILED","reason":"worker","value":null,'
        '"best_epoch":null,"epochs":0,"busy_s":0.0,"error":"x","cause":"x","test":null,'
        '"device":"cuda","time":1.5}',
        TrialEnded(
            id="t0000", state=State.FAILED, reason=Reason.WORKER, epochs=0, busy_s=0.0, error="x",
            cause="x", device="cuda", time=1.5,
        ),
    ),
    (
        '{"t":"stage","name":"race","state":"start","time":1.5}',
        StageMarked(name="race", state=StageState.START, time=1.5),
    ),
    (
        '{"t":"stage","name":"race","state":"done","data":{"winner":"t0000"},"time":1.5}',
        StageMarked(name="race", state=StageState.DONE, data={"winner": "t0000"}, time=1.5),
    ),
    (
        '{"t":"grid","asked":["t0001","t0000"],"racers":["t0001"],"planned":4,"replicates":9,'
        '"time":1.5}',
        RacePlanned(
            asked=("t0001", "t0000"), racers=("t0001",), planned=4, replicates=9, time=1.5
        ),
    ),
    (
        '{"t":"grid","asked":["t0001","t0000"],"racers":["t0001","t0000"],"planned":4,'
        '"replicates":4,"joining":["t0000"],"epochs":{"t0001":20},"time":1.5}',
        RacePlanned(
            asked=("t0001", "t0000"), racers=("t0001", "t0000"), planned=4, replicates=4,
            joining=("t0000",), epochs={"t0001": 20}, time=1.5,
        ),
    ),
    (
        '{"t":"race","config_id":"t0000","replicate":0,"seed":6,"split_seed":3,"value":0.5,'
        '"best_epoch":10,"seconds":4.5,"crossed":true,"time":1.5}',
        ReplicateRaced(
            config_id="t0000", replicate=0, seed=6, split_seed=3, value=0.5, best_epoch=10,
            seconds=4.5, crossed=True, time=1.5,
        ),
    ),
    (
        '{"t":"race","config_id":"t0000","replicate":1,"seed":6,"split_seed":3,"error":"Trace",'
        '"cause":"E: x","time":1.5}',
        ReplicateRaced(
            config_id="t0000", replicate=1, seed=6, split_seed=3, error="Trace", cause="E: x",
            time=1.5,
        ),
    ),
    (
        '{"t":"rival","name":"ease","config":{"model":"ease","ease_l2":250.0},'
        '"metrics":{"map@50":0.14},"time":1.5}',
        RivalChosen(
            name="ease", config={"model": "ease", "ease_l2": 250.0}, metrics={"map@50": 0.14},
            time=1.5,
        ),
    ),
    ('{"t":"finish","status":"done","time":1.5}', SessionEnded(status=Status.DONE, time=1.5)),
    ('{"t":"news","text":"hm","time":1.5}', Other(t="news", more={"text": "hm"}, time=1.5)),
]  # fmt: skip


@pytest.mark.parametrize(("line", "event"), LINES, ids=[str(n) for n in range(len(LINES))])
def test_a_line_and_its_event_are_one(line: str, event: Event) -> None:
    assert json.dumps(write(event), separators=(",", ":")) == line
    assert read(json.loads(line)) == event


def test_every_kind_has_a_line_above() -> None:
    assert {type(event) for _, event in LINES} == {*_KINDS.values(), Other}


def test_the_uid_of_a_run_stays_that_of_its_first_line() -> None:
    """Whatever the line has that its class does not know, or as null: MLflow's runs carry it."""
    line: dict[str, Any] = json.loads(LINES[0][0])
    for more in ({}, {"session": 1, "cores": [2]}, {"device": None}):
        state = RunState()
        state.apply(read(line | more), 0)
        canonical = json.dumps(line | more, sort_keys=True).encode()
        assert state.uid == hashlib.sha256(canonical).hexdigest()[:16]


def test_what_old_lines_lack_has_a_default() -> None:
    end = read({"t": "end", "id": "t0", "state": "PRUNED"})
    assert end == TrialEnded(id="t0", state=State.PRUNED)
    assert read({"t": "start", "id": "t0"}) == TrialBegan(id="t0")
    assert read({"t": "run"}) == SessionBegan()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ({"t": "end", "id": "t0"}, KeyError),
        ({"t": "end", "id": "t0", "state": "LOST"}, ValueError),
        ({"t": "end", "id": "t0", "state": "FAILED", "reason": "moon"}, ValueError),
        ({"t": "stage", "name": "race", "state": "half"}, ValueError),
        ({"t": "finish", "status": None}, ValueError),
        ({"t": "run", "settings": 3}, TypeError),
        ({"t": "start", "id": "t0", "time": "noon"}, ValueError),
    ],
)
def test_a_line_that_means_nothing_is_refused(line: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        read(line)


def test_of_the_facts_of_several_sessions_the_last_count() -> None:
    state = RunState()
    state.apply(SessionBegan(name="a", settings={"trials": 3}, metric="map@50"), 1)
    state.apply(SessionEnded(status=Status.DONE), 2)
    state.apply(SessionBegan(settings={"trials": 9}), 3)
    assert (state.run.name, state.run.metric, state.run.settings) == ("a", "map@50", {"trials": 9})
    assert state.status == Status.RUNNING
