"""The choice of a model in a space: conditional by construction, one door for every model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.data import load
from recsys.errors import ConfigError
from recsys.models import MODELS
from recsys.models.saved import load_model, save_model
from recsys.split import SplitPlan, make_split
from search.space import domains
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig
from search.stages.handover import submit
from search.stages.winner import FinalTraining
from search.tune.replicate import ReplicateResult, ReplicateTask, run_replicate
from search.tune.worker import Trial, TrialData
from tests.recsys.test_models import newest  # noqa: F401
from tests.search.spaces import override

ROOT = Path(__file__).resolve().parents[3]
TWO = """\
trials: 8
metric: map@10
max_epochs: 3
k: 10
race: none
params:
  lr: {low: 0.01, high: 0.1, log: true}
  latent_factors: 8
  ease_l2: {low: 1, high: 1000, log: true}
  model: {choice: [lfm, ease, popularity]}
enqueue:
  - {model: lfm, lr: 0.05}
  - {model: ease, ease_l2: 30}
"""


def read(folder: Path, text: str) -> SearchSpec:
    path = folder / "models.yaml"
    path.write_text(text)
    return load_spec(str(path))


def test_only_the_parameters_of_the_chosen_model_exist(tmp_path: Path) -> None:
    spec = read(tmp_path, TWO)
    assert spec.params[0].name == "model"  # wherever it stands
    own = {"lfm": {"model", "lr"}, "ease": {"model", "ease_l2"}, "popularity": {"model"}}
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(50):
        params = spec.sample(rng)
        model = str(params["model"])
        seen.add(model)
        assert params.keys() == own[model]
        assert spec.train_config(params).model == model
        assert ("epochs" in spec.flat(params)) == (model == "lfm")
    assert seen == own.keys()
    assert load_spec(str(write(tmp_path, spec))) == spec


def write(folder: Path, spec: SearchSpec) -> Path:
    path = folder / "again.yaml"
    path.write_text(spec.to_yaml())
    return path


def test_a_fixed_model_takes_its_parameters_along(tmp_path: Path) -> None:
    spec = override(read(tmp_path, TWO), ["model=ease"])
    assert {p.name for p in spec.params} == {"model", "ease_l2"}
    assert [dict(entry) for entry in spec.enqueue] == [{"ease_l2": 30.0}]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("{ease_l2: 3}", "has no effect: it belongs to model ease"),
        ("{model: ease, lr: 0.1}", "has no effect: it belongs to model lfm"),
        ("{model: bayes}", "expected one of"),
        ("{model: {choice: [ease, esae]}, ease_l2: 3}", "esae"),
        ("{lr: 0.1, model: {choice: [ease, lfm], when: {lr: 0.1}}}", "can't have conditions"),
    ],
)
def test_a_parameter_of_a_model_that_is_never_chosen_is_a_mistake(
    tmp_path: Path, params: str, words: str
) -> None:
    with pytest.raises(ConfigError, match="line 1") as caught:
        read(tmp_path, f"{{params: {params}}}")
    assert words in str(caught.value)


def trial_data() -> tuple[Any, Any, TrialData]:
    dataset = load("demo")
    split = make_split(dataset, SplitPlan(), 1)
    data = TrialData(
        train=split.train,
        valid=split.valid,
        test=None,
        metric="map@10",
        metrics=("map@10",),
        rungs=(1, 3),
        threads=1,
        device="cpu",
    )
    return dataset, split, data


@pytest.mark.parametrize("model", ["ease", "item_knn", "popularity", "newest"])
@pytest.mark.usefixtures("newest")
def test_any_model_is_trained_refitted_saved_and_submitted(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields, owners = domains._fields()  # with the line that the fixture has added to MODELS
    for name, field in fields.items():
        monkeypatch.setitem(domains.FIELDS, name, field)  # type: ignore[index]
    for name, models in owners.items():
        monkeypatch.setitem(domains.OWNERS, name, models)
    extra = {"newest": ", half_life: {low: 1, high: 9}"}.get(model, "")
    spec = read(tmp_path, f"{{metric: map@10, k: 10, params: {{model: {model}{extra}}}}}")
    config = TrialConfig.of(spec, spec.sample(np.random.default_rng(0)), 1)
    dataset, split, data = trial_data()
    trial = Trial(config.train, config.seed, data)
    (report,) = trial.epochs()
    assert report.stop == "epochs"
    assert report.evaluation is not None
    values = report.evaluation.per_user[data.metric]
    assert values.mean() == pytest.approx(report.best_value)
    raced = run_replicate(
        ReplicateTask("t0", 0, config.train, config.seed, 1), data, split.train, split.valid
    )
    assert isinstance(raced, ReplicateResult)
    assert raced.value == pytest.approx(report.best_value)  # one epoch: nobody chooses
    everything = split.full()
    final = FinalTraining.of(config.train, 1, seed=config.seed, threads=1, device="cpu")
    fitted = final.train(everything)
    save_model(tmp_path / "model", fitted.to_bytes(), final.config)
    again = load_model(tmp_path / "model")
    assert type(again).__name__ == type(fitted).__name__
    rows = submit(tmp_path / "s.csv", again, dataset, everything, 10)
    assert rows == dataset.interactions.n_users
    assert MODELS.keys() >= {"lfm", model}


def test_a_space_is_checked_without_waiting_for_what_trains_it() -> None:
    code = (
        "import sys, search.run.start; from search.space.load import load_spec; load_spec('all')\n"
        "print([name for name in ('torch', 'numba', 'pandas', 'ray', 'optuna', 'mlflow') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr
