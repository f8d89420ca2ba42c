"""Which parameters made trials good."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import optuna
from optuna import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

MIN_TRIALS = 8


# How many times trials are resampled for the intervals, and the most trials in all these samples.
DRAWS, DRAWN = 40, 8_000


@dataclass(frozen=True)
class Shares:
    """Share of each parameter in what made trials good, largest first, adding up to 1.

    intervals: the middle nine tenths of each share over trials resampled with replacement, which
    shows how much of it depends on single trials.
    """

    shares: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def importance(study: Study, rng: np.random.Generator) -> Shares:
    """Which parameters mattered, by PED-ANOVA (Watanabe, Bansal, Hutter, 2023), which compares
    where the best trials lie with where all lie, and can handle conditional parameters.

    All trials with a value count; one that was stopped early counts with its last value, which is
    too low. With fewer than 8 such trials, or where all scored the same, the result is empty.
    """
    told = [trial for t in study.get_trials(deepcopy=False) if (trial := _with_value(t))]
    shares = _shares(told)
    draws = min(DRAWS, DRAWN // max(len(told), 1)) if shares else 0
    again = [
        _shares([told[n] for n in rng.integers(len(told), size=len(told))]) for _ in range(draws)
    ]
    known = [one for one in again if one]
    intervals = {}
    for name in shares if len(known) > 1 else ():
        low, high = np.quantile([one.get(name, 0.0) for one in known], (0.05, 0.95))
        intervals[name] = float(low), float(high)
    return Shares(shares, intervals)


def _with_value(trial: FrozenTrial) -> FrozenTrial | None:
    """The trial as if it had completed with its last value; None where it has no value."""
    if trial.state == TrialState.COMPLETE:
        return trial
    if trial.state != TrialState.PRUNED or not trial.intermediate_values:
        return None
    value = trial.intermediate_values[max(trial.intermediate_values)]
    if not math.isfinite(value):
        return None
    return create_trial(params=trial.params, distributions=trial.distributions, value=value)


def _shares(trials: list[FrozenTrial]) -> dict[str, float]:
    if len(trials) < MIN_TRIALS or len({trial.value for trial in trials}) < 2:
        return {}
    # The best tenth, but at least five trials where there are that many.
    quantile = min(0.5, max(0.1, 5 / len(trials)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="maximize")
        study.add_trials(trials)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return {param: float(share) for param, share in ranked}
