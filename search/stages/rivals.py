"""The rivals of the winner: chosen on validation beside the race, tested beside the winner.

Choosing can take a worker long, where the models are expensive; so it begins together with the
race. What was chosen is in the journal; a run without a race chooses before its test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.evaluation import Evaluation, evaluate
from recsys.interactions import CSR
from recsys.models import ModelConfig, config_from_flat, fit_model
from recsys.models.base import Size
from recsys.rivals import POPULARITY, SHARE, Allowed, Rival, choose, rivals_for, why_no_linear
from recsys.split import Split
from search.machine.cluster import Failure, Resources
from search.record.events import RivalChosen
from search.record.result import RivalTested
from search.space.trial import trial_seed
from search.stages.context import Stages
from search.stages.winner import FinalTraining
from search.stages.work import Work
from search.tune.need import allowed_rival
from search.tune.worker import TrialData, limit_threads
from search.words import baseline_name


@dataclass(frozen=True)
class Chosen:
    """The config of a rival, and its values on validation by metric."""

    config: ModelConfig
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class ChoiceTask:
    """A rival whose config is to be chosen. seconds: no further config is begun after so many."""

    rival: Rival
    metrics: tuple[str, ...]
    seed: int
    threads: int
    seconds: float


def choose_rival(task: ChoiceTask, train: CSR, valid: CSR) -> Chosen:
    """The config of a rival that is best on validation, each fitted on `train`; in a worker."""
    limit_threads(task.threads)
    rng = np.random.default_rng(task.seed)
    found = choose(
        task.rival,
        train,
        valid,
        task.metrics,
        rng=rng,
        threads=task.threads,
        seconds=task.seconds,
    )
    return Chosen(found.config, found.metrics)


def choose_beside(task: ChoiceTask, data: TrialData) -> Chosen:
    """The same, on the data of the trials, which workers have already."""
    return choose_rival(task, data.train, data.valid)


def chosen(run: Stages) -> dict[str, Chosen]:
    """The choices in the journal, by rival; only those that have all metrics of this run."""
    return {
        name: Chosen(config_from_flat(dict(row.config)), row.metrics)
        for name, row in run.state.rivals.items()
        if set(run.metrics) <= set(row.metrics)
    }


def rivals_of(run: Stages) -> tuple[Rival, ...]:
    """The rivals of a run, by its data, memory and time budget."""
    allowed = allowed_rival(run.resources, run.settings.time_budget)
    return rivals_for(Size.of(run.split.train), allowed)


def note_missing(run: Stages) -> None:
    """Say in a line where the winner will have no linear rival."""
    if run.state.stage_done("test"):
        return
    if (why := no_linear(run.split, run.resources, run.settings.time_budget)) is not None:
        run.display.note(why)


def no_linear(split: Split, resources: Resources, budget: float | None) -> str | None:
    """Why no linear rival is tested beside the winner, in a line; None where one is, or where there
    are no test items. resources: of a trial. budget: of the run, in seconds.
    """
    if split.test is None:
        return None
    return why_no_linear(Size.of(split.train), allowed_rival(resources, budget))


def to_choose(run: Stages) -> list[ChoiceTask]:
    """The rivals still to be chosen; none where there is no test to compare them on."""
    if run.split.test is None:
        return []
    known, budget = chosen(run), run.settings.time_budget
    return [
        ChoiceTask(
            rival,
            tuple(run.metrics),
            trial_seed(run.settings.seed, f"rival:{rival.name}"),
            run.resources.cpus_per_trial,
            math.inf if budget is None else SHARE * budget,
        )
        for rival in rivals_of(run)
        if rival.name not in known
    ]


def event_of(task: ChoiceTask, found: Chosen) -> RivalChosen:
    """The journal's line for a choice."""
    flat = found.config.to_flat()
    return RivalChosen(name=task.rival.name, config=flat, metrics=dict(found.metrics))


@dataclass(frozen=True, eq=False)
class RivalOnTest:
    """A rival on the test items. metric: that of the run."""

    told: RivalTested
    found: Evaluation
    metric: str

    @property
    def per_user(self) -> np.ndarray:
        """Its values of the run's metric, float64 (V,)."""
        return self.found.per_user[self.metric]


def rivals_on_test(
    run: Stages, winner: FinalTraining, items: Sequence[Any]
) -> dict[str, Work[RivalOnTest]]:
    """The tasks that test the rivals, by name; each trains on train + valid what was chosen, or
    chooses first. items: as `rival_task` takes them.
    """
    choices: dict[str, Chosen | ChoiceTask] = dict(chosen(run))
    choices |= {task.rival.name: task for task in to_choose(run)}
    return {
        rival.name: Work(
            rival_task,
            (rival, choices[rival.name], winner.seed, winner.threads, *items),
            may_train(choices[rival.name]),
        )
        for rival in rivals_of(run)
    }


def may_train(choice: Chosen | ChoiceTask) -> tuple[ModelConfig, ...]:
    """All configs that the test of a rival may train."""
    return (choice.config,) if isinstance(choice, Chosen) else choice.rival.configs


def rival_task(
    rival: Rival,
    choice: Chosen | ChoiceTask,
    seed: int,
    threads: int,
    train_items: CSR,
    valid: CSR,
    test: CSR,
    metrics: Sequence[str],
) -> RivalOnTest:
    """A rival on the test items, trained on train + valid, in a worker.

    choice: what was chosen, or what is to be chosen first, on `valid`.
    """
    limit_threads(threads)
    known = choice if isinstance(choice, Chosen) else choose_rival(choice, train_items, valid)
    rng = np.random.default_rng(seed)
    return rival_on_test(rival, known, train_items.union(valid), test, metrics, rng, threads)


def rival_on_test(
    rival: Rival,
    choice: Chosen,
    seen: CSR,
    test: CSR,
    metrics: Sequence[str],
    rng: np.random.Generator,
    threads: int,
) -> RivalOnTest:
    """A rival on the test items, trained on `seen`. choice: its config. rng: of the training."""
    model = fit_model(choice.config, seen, rng=rng, threads=threads)
    on_test = evaluate(model, seen, test, metrics, threads=threads, pairs=True)
    told = RivalTested(valid=choice.metrics, test=on_test.values, **remarks(rival, choice.config))
    return RivalOnTest(told, on_test, metrics[0])


def not_tested(run: Stages, name: str, failure: Failure) -> RivalTested:
    """What is told of a rival whose test failed, which is said on the screen too."""
    why = " ".join(failure.cause.split())
    run.display.note(f"{baseline_name(name)} is not tested: {why}")
    if (known := chosen(run).get(name)) is None:
        return RivalTested(skipped=why)
    return RivalTested(valid=known.metrics, skipped=why)


def remarks(rival: Rival, config: ModelConfig) -> dict[str, Any]:
    """The tuned parameter of a rival and its value, without the name of the model."""
    if rival.tuned is None:
        return {}
    return {rival.tuned.removeprefix(f"{rival.name}_"): config.to_flat()[rival.tuned]}


def kept_rivals(
    known: Mapping[str, RivalChosen], size: Size, allowed: Allowed
) -> dict[Rival, ModelConfig]:
    """The rivals of a run with the configs that it chose, for use on other data of a size:
    popularity always, and each of the others that is allowed there.
    """
    configs = {
        rival: config_from_flat(dict(known[rival.name].config))
        for rival in rivals_for(size, allowed)
        if rival.name in known
    }
    fitting = {rival: one for rival, one in configs.items() if allowed.fits(one, size)}
    return {POPULARITY: POPULARITY.configs[0]} | fitting
