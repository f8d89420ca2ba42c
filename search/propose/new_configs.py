"""What a run has not tried yet: a config that is new, or the news that there is none left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

import numpy as np

from search.space.domains import Value
from search.space.spec import SearchSpec


class NoNewConfigError(Exception):
    """Every config that could be found was tried already: the space is exhausted."""


Known = Callable[[Mapping[str, Value]], bool]


RANDOM_ATTEMPTS, LISTED = 1000, 10_000
STREAM = 10  # of random numbers, beside those of a sampler's attempts (`redraw`)


def another(spec: SearchSpec, seed: int, number: int, known: Known) -> dict[str, Value]:
    """The parameters of a config that is not `known`, drawn without regard to results.

    They are drawn evenly from what a countable space has left, or else from the whole space. seed:
    the run's. number: the trial's; both decide what is drawn. known: whether the run has had a
    config with these parameters. Raises NoNewConfigError where no new one was found.
    """
    rng = np.random.default_rng([seed, number, STREAM])
    if all(p.domain.values() is not None for p in spec.searched()):
        left = [config for config in islice(spec.grid(), LISTED) if not known(config)]
        if left:
            return left[int(rng.integers(len(left)))]
    for _ in range(RANDOM_ATTEMPTS):
        params = spec.sample(rng)
        if not known(params):
            return params
    raise NoNewConfigError
