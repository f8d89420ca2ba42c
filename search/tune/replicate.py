"""A finalist on one fresh split, inside a worker: what the race is decided by.

Users are measured at an epoch that the items of other users chose. The best of many noisy values is
too high, on MovieLens-100K by 1.3% on average. A model with one epoch, or a blend, has no such
luck, and compared with it a model with many epochs would win too often. Shapes: V users, T items of
a list.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.blending import depth_of, voters
from recsys.interactions import CSR
from recsys.models import ModelConfig
from recsys.models.blend import TopLists, top_lists
from recsys.scoring import Scorer
from search.machine.cluster import Failure
from search.tune.worker import (
    Trial,
    TrialData,
    blames_node,
    limit_threads,
    return_freed_memory,
)


@dataclass(frozen=True)
class ReplicateTask:
    """A finalist (config_id: its trial) to train on the fresh split number `replicate`.

    seed: of the training. split_seed: of the split.
    """

    config_id: str
    replicate: int
    config: ModelConfig
    seed: int
    split_seed: int


@dataclass(frozen=True, eq=False)
class ReplicateResult:
    """What a finalist reached on a fresh split, by the run's metric.

    value: the mean of `per_user` (V,), which has each of `users` (V,) at the epoch that other users
    chose. best_epoch: the best by all users. seconds: of training and evaluation. lists: the top
    lists of `voters`, which a blend is made of; None where no blend is wanted.
    """

    value: float
    best_epoch: int
    seconds: float
    users: np.ndarray
    per_user: np.ndarray
    device: str
    lists: TopLists | None = None


def run_replicate(
    task: ReplicateTask, data: TrialData, train: CSR, valid: CSR
) -> ReplicateResult | Failure:
    """Train and measure one finalist on one fresh split, for the race.

    data: what the trials of the run share; only its settings are used. train, valid: the parts of
    the fresh split. A training that fails is returned as a Failure; on a cluster, what a node lacks
    is raised.
    """
    limit_threads(data.threads)
    return_freed_memory()
    started = time.monotonic()
    try:
        trial = Trial(task.config, task.seed, replace(data, train=train, valid=valid, watched=None))
        crossed = lists = None
        if data.blend:
            lists = EpochLists(train, voters(train, valid, task.split_seed), depth_of(data.metric))
        for report in trial.epochs():
            best_epoch, found = report.best_epoch, report.evaluation
            if found is None:
                continue
            if crossed is None:
                crossed = Crossed(found.users, task.split_seed)
            changed = crossed.take(found.per_user[data.metric])
            if lists is not None and len(changed):
                lists.take(trial.model, changed)
        assert crossed is not None, f"{task.config.model}: no report has an `evaluation`"
    except Exception as error:
        if blames_node(error, data):
            raise
        return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())
    return ReplicateResult(
        float(crossed.per_user.mean()),
        best_epoch,
        time.monotonic() - started,
        crossed.users,
        crossed.per_user,
        trial.device,
        None if lists is None else lists.whole(),
    )


class Crossed:
    """The values of the users of a training, each half at the epoch that is best for the other.

    users: (V,). per_user: float64 (V,), the values so far. seed: of the halves, the same for every
    training on a split, so that trainings stay comparable user by user. A single user has no other
    half and is measured at their own best epoch.
    """

    def __init__(self, users: NDArray[np.int32], seed: int) -> None:
        self.users = users
        self.per_user = np.zeros(len(users))
        half = np.zeros(len(users), np.bool_)
        half[np.random.default_rng([seed, 13]).permutation(len(users))[::2]] = True
        # the users who choose, and those they choose for
        self._turns = [(half, ~half), (~half, half)] if len(users) > 1 else [(half, half)]
        self._best = [-np.inf] * len(self._turns)

    def take(self, per_user: NDArray[np.float64]) -> NDArray[np.int32]:
        """Take the values (V,) of one more epoch; returns the users for whom it is the chosen
        epoch so far.
        """
        changed = np.zeros(len(self.users), np.bool_)
        for turn, (choosing, measured) in enumerate(self._turns):
            value = float(per_user[choosing].mean())
            if value > self._best[turn]:
                self._best[turn] = value
                changed |= measured
        self.per_user[changed] = per_user[changed]
        return self.users[changed]


class EpochLists:
    """The top lists of `users` (V,), ascending, each by the model of the epoch chosen for it.

    seen: items that are left out. depth: items of a list.
    """

    def __init__(self, seen: CSR, users: NDArray[np.int32], depth: int) -> None:
        self._seen, self._users, self._depth = seen, users, min(depth, seen.n_items)
        self._items = np.full((len(users), self._depth), -1, np.int32)
        self._scores = np.zeros((len(users), self._depth), np.float32)

    def take(self, scorer: Scorer, changed: NDArray[np.int32]) -> None:
        """Replace the lists of the users in `changed` with those by `scorer`."""
        at = np.flatnonzero(np.isin(self._users, changed))
        found = top_lists(scorer, self._seen, self._users[at], self._depth)
        self._items[at], self._scores[at] = found.items, found.scores

    def whole(self) -> TopLists:
        """The lists (V, T) as they are now; items -1 and scores 0 for a user never in `changed`."""
        return TopLists(self._items, self._scores)
