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
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.blending import depth_of, voters
from recsys.evaluation import Evaluation, evaluate
from recsys.interactions import CSR, contested
from recsys.models import ModelConfig
from recsys.models.base import Model
from recsys.models.blend import TopLists, top_lists
from recsys.scoring import Scorer
from search.machine.cluster import Failure
from search.tune.sampling import of_users, sample_users, watched_users
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
    chose. best_epoch: the best by all users who were evaluated after it. seconds: of training and
    evaluation. lists: the top lists of `voters`, which a blend is made of; None where no blend is
    wanted.
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
        measured = measuring(task, data, train, valid)
        parts = replace(data, train=train, valid=valid, watched=measured.watched)
        trial = Trial(task.config, task.seed, parts)
        for report in trial.epochs():
            best_epoch = report.best_epoch
            if report.evaluation is not None:
                measured.take(report.evaluation, trial.model)
        users, per_user, lists = measured.whole(trial.device)
    except Exception as error:
        if blames_node(error, data):
            raise
        return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())
    return ReplicateResult(
        float(per_user.mean()),
        best_epoch,
        time.monotonic() - started,
        users,
        per_user,
        trial.device,
        lists,
    )


class Measuring(Protocol):
    """Takes the evaluated epochs of a training, and says what everybody is measured by.

    watched: the held-out items of those who are evaluated after an epoch; None for everybody.
    """

    watched: CSR | None

    def take(self, found: Evaluation, model: Model) -> None:
        """Take the evaluation of one more epoch, whose weights `model` has until it trains on."""

    def whole(self, device: str) -> tuple[NDArray[np.int32], NDArray[np.float64], TopLists | None]:
        """The users (V,) with a value, ascending, their values (V,), and the lists for a blend.

        device: that the model was trained on.
        """


def measuring(task: ReplicateTask, data: TrialData, train: CSR, valid: CSR) -> Measuring:
    """How a finalist is measured: everybody after every epoch, unless that would take long."""
    lists = None
    if data.blend:
        asked = voters(train, valid, task.split_seed)
        lists = EpochLists(train, asked, depth_of(data.metric))
    several = task.config.most_epochs is not None and watched_users(train, valid) > 1
    if data.sampled is None or not several:
        return EveryEpoch(data.metric, task.split_seed, lists)
    return AtTheEnd(data, train, valid, task.split_seed, lists)


class EveryEpoch:
    """Everybody is evaluated after every epoch.

    seed: of the halves. lists: of the voters, if they are wanted.
    """

    watched: CSR | None = None

    def __init__(self, metric: str, seed: int, lists: EpochLists | None) -> None:
        self._metric, self._seed, self._lists = metric, seed, lists
        self._crossed: Crossed | None = None

    def take(self, found: Evaluation, model: Model) -> None:
        """See `Measuring`."""
        if self._crossed is None:
            self._crossed = Crossed(found.users, self._seed)
        changed = self._crossed.take(found.per_user[self._metric])
        if self._lists is not None and len(changed):
            self._lists.take(model, changed)

    def whole(
        self,
        device: str,  # noqa: ARG002
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], TopLists | None]:
        """See `Measuring`."""
        assert self._crossed is not None, "no report of the training has an `evaluation`"
        lists = None if self._lists is None else self._lists.whole()
        return self._crossed.users, self._crossed.per_user, lists


class AtTheEnd:
    """A sample of each half is evaluated after every epoch, the other half once, at the end, with
    the weights of the epoch that the sample found best: a copy, of which there are two at most.

    So it is done where evaluation takes so long that trials are validated on a sample of
    `TrialData.sampled` users: after every epoch of a race it took two thirds of the time.
    """

    def __init__(
        self, data: TrialData, train: CSR, valid: CSR, seed: int, lists: EpochLists | None
    ) -> None:
        """seed: of the halves and the samples. lists: of the voters, if they are wanted."""
        assert data.sampled is not None
        self._data, self._train, self._lists = data, train, lists
        contests = contested(train.degrees(), valid.degrees(), train.n_items)
        users = np.flatnonzero(contests)
        half = halves(len(users), seed)
        self._held = [of_users(valid, users[half]), of_users(valid, users[~half])]
        rng = np.random.default_rng([seed, 15])
        each = max(1, data.sampled // 2)
        samples = [sample_users(held, train, each, rng) for held in self._held]
        self.watched: CSR | None = samples[0].union(samples[1])
        self._choosing = [sample.degrees() > 0 for sample in samples]  # (U,) each
        self._best = [-np.inf, -np.inf]
        self._weights: list[dict[str, NDArray]] = [{}, {}]
        self._model: type[Model] | None = None

    def take(self, found: Evaluation, model: Model) -> None:
        """See `Measuring`."""
        self._model = type(model)
        per_user = found.per_user[self._data.metric]
        values = [float(per_user[choosing[found.users]].mean()) for choosing in self._choosing]
        better = [turn for turn, value in enumerate(values) if value > self._best[turn]]
        for turn in better:
            self._best[turn], self._weights[turn] = values[turn], {}  # an older copy is of no use
        kept = {name: np.array(one) for name, one in model.arrays().items()} if better else {}
        for turn in better:
            self._weights[turn] = kept

    def whole(self, device: str) -> tuple[NDArray[np.int32], NDArray[np.float64], TopLists | None]:
        """See `Measuring`."""
        assert self._model is not None, "no report of the training has an `evaluation`"
        data, found = self._data, list[Evaluation]()
        for weights, held in zip(self._weights, reversed(self._held), strict=True):
            model = self._model.from_arrays(weights).to_device(device)
            one = evaluate(model, self._train, held, [data.metric], threads=data.threads)
            if self._lists is not None:
                self._lists.take(model, one.users)
            found.append(one)
        users = np.concatenate([one.users for one in found])
        values = np.concatenate([one.per_user[data.metric] for one in found])
        order = np.argsort(users)
        lists = None if self._lists is None else self._lists.whole()
        return users[order], values[order], lists


def halves(count: int, seed: int) -> NDArray[np.bool_]:
    """Which of `count` users are of the first half, bool (count,): the same for every training on a
    split, so that trainings stay comparable user by user.
    """
    half = np.zeros(count, np.bool_)
    half[np.random.default_rng([seed, 13]).permutation(count)[::2]] = True
    return half


class Crossed:
    """The values of the users of a training, each half at the epoch that is best for the other.

    users: (V,). per_user: float64 (V,), the values so far. seed: of the `halves`. A single user has
    no other half and is measured at their own best epoch.
    """

    def __init__(self, users: NDArray[np.int32], seed: int) -> None:
        self.users = users
        self.per_user = np.zeros(len(users))
        half = halves(len(users), seed)
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
