"""Optuna's samplers, by the words that a space has for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import optuna

from search.propose.tails import compile_tails
from search.space.spec import SearchSpec

STARTUP, STARTUP_OF_METHOD = 10, 5  # random trials before the sampler learns from trials


def _tpe(seed: int, startup: int) -> optuna.samplers.BaseSampler:
    compile_tails()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=startup,
        )


def random_sampler(seed: int, startup: int = 0) -> optuna.samplers.BaseSampler:  # noqa: ARG001
    """A sampler that draws every parameter at random, whatever the results."""
    return optuna.samplers.RandomSampler(seed=seed)


# The Optuna sampler that draws a config that is neither listed nor proposed beforehand, by the
# words of `search.space.strategies.SEARCHERS`; None: nothing does, the search is over. All configs
# of `gp` are proposed beforehand (`search.propose.surrogate`).
SAMPLERS: dict[str, Callable[[int, int], optuna.samplers.BaseSampler] | None] = {
    "gp": random_sampler,
    "tpe": _tpe,
    "random": random_sampler,
    "grid": None,
}


def sampler(
    spec: SearchSpec, seed: int, number: int, attempt: int = 0, startup: int = STARTUP
) -> optuna.samplers.BaseSampler:
    """The sampler of trial `number`; attempt: counts up where its last proposal was known already.

    It depends on the run's seed and the trial's number, not on what was drawn before. So a resumed
    search proposes what an uninterrupted one would, and never repeats its first draws. startup:
    random trials before the sampler learns.
    """
    entropy = [seed, number, attempt] if attempt else [seed, number]
    state = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    # A listed config leaves nothing to propose.
    return (SAMPLERS[spec.searcher] or random_sampler)(state, startup)
