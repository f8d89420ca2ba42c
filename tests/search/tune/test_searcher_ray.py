"""Searcher and scheduler in a real Tuner: what a fresh look at the storage finds afterwards."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.machine import environment
from search.space.load import load_spec
from search.space.trial import TrialConfig
from search.tune.scheduler import EpochASHA, rungs
from search.tune.searcher import StudySearch
from tests.search.fake_search import records
from tests.search.spaces import override

SPEC = override(load_spec("smoke"), ["max_epochs=20", "trials=14"])


def train_fake(config: dict[str, Any]) -> None:
    """Curves that rise to a height given by lr; some configs fail, in the ways there are."""
    from ray import tune

    trial: TrialConfig = config["trial"]
    number = trial.number
    height = 1 / (1 + abs(trial.params["lr"] - 0.1) * 10)
    result: dict[str, Any] = {}
    for epoch in range(1, 21):
        result = {"epoch": epoch, "objective": height * epoch / 20, "stop": None}
        if number == 4:
            tune.report(result | {"error": "Traceback", "cause": "diverged in epoch 2"})
            return
        if number == 6:
            raise RuntimeError("the worker is broken")
        if number == 1 and epoch == 11:
            result["stop"] = "patience"
            break
        if epoch == 20:
            result["stop"] = "epochs"
        elif epoch in rungs(SPEC):
            tune.report(result)
    tune.report(result)


@pytest.fixture
def ray_of_two() -> Iterator[None]:
    # Ray and Tune take these over for good, and the tests after this one need them as they were.
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # beside busy processes it would crawl
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    import ray

    root = str(Path(__file__).resolve().parents[3])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        # quoted: a checkout may lie in a folder with a blank in its name
        runtime_env=environment.runtime_env({"PYTHONPATH": root}, shlex.quote(sys.executable)),
    )
    yield
    ray.shutdown()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.slow
def test_through_a_real_tuner(ray_of_two: None, tmp_path: Path) -> None:
    from ray import tune

    journaled: list[int] = []
    search = StudySearch(
        SPEC,
        seed=1,
        on_new=lambda trial: journaled.append(trial.number),
    )
    asha = EpochASHA(SPEC)
    last: dict[int, dict[str, Any]] = {}

    class Keep(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any) -> None:
            last[trial.config["trial"].number] = dict(result)

    tune.Tuner(
        tune.with_resources(train_fake, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=search, scheduler=asha, num_samples=-1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(tmp_path / "tune"), verbose=0, callbacks=[Keep()]
        ),
    ).fit()
    assert journaled == list(range(14)), "FINISHED ends it, although Tune would go on for ever"
    found = records(search.study)
    by_number = {t.number: t for t in found}
    assert by_number.keys() == set(range(14))
    assert {t.state for t in found} == {"COMPLETE", "PRUNED", "FAILED"}
    assert [t.number for t in found if t.state == "FAILED"] == [4, 6]
    assert by_number[4].error == "diverged in epoch 2"
    assert by_number[6].error == "the trial's process died"
    for number, metrics in last.items():
        trial = by_number[number]
        if trial.state == "FAILED":
            continue
        # the report that ended it is in the study, and its value is the best so far
        assert trial.params == metrics["config"]["trial"].params
        assert trial.steps[-1] == (metrics["epoch"], metrics["objective"])
        assert trial.value == metrics["objective"]
        assert (trial.state == "PRUNED") == (metrics["stop"] is None)
        if trial.state == "PRUNED":
            assert metrics["epoch"] in rungs(SPEC)
    assert len(last) == 13  # trial 6 never reported
    by_state = {number: trial.state for number, trial in by_number.items()}
    assert by_state[1] == "COMPLETE" or last[1]["epoch"] in rungs(SPEC)
    asha_again = EpochASHA(SPEC)
    for trial in found:
        asha_again.replay(f"t{trial.number:04d}", trial.steps, SPEC.train_config(trial.params))
    assert asha_again.reached["lfm"].recorded == asha.reached["lfm"].recorded
