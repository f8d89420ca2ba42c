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


# Times that trials are drawn again for an interval, and trials in all of these.
DRAWS, DRAWN = 40, 8_000


@dataclass(frozen=True)
class Shares:
    """Share of each parameter in what made trials good, largest first, adding up to 1.

    intervals: the middle nine tenths of each share where the trials are drawn again with
    replacement: how much of it hangs on single trials.
    """

    shares: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def importance(study: Study, rng: np.random.Generator) -> Shares:
    """What mattered, by PED-ANOVA (Watanabe, Bansal, Hutter, 2023), which compares where the best
    trials lie with where all lie, and knows conditional parameters.

    All trials count: one that was stopped early with the last value it had, which was too low. With
    fewer than 8 trials that have a value, or where all scored the same, nothing can be said.
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
    """A trial as one that came to its end, with the last value that it had; None without one."""
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
