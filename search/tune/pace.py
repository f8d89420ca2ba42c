"""How long a trial may be, so that a search has enough of them in its seconds.

Where the trials that a space asks for do not fit into the time budget, an epoch is measured on
this machine and data before the first trial. From that follow the longest training of every
config (fewer epochs the more one costs), the rungs (a ninth and a third of it), and on how many
users a trial is validated. It is decided once for a run, and once more for each extension of it
that has a time budget, and kept in its journal. A search whose trials fit is left as its space has
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from recsys.interactions import CSR
from recsys.models import ModelConfig, bytes_of
from recsys.models.base import Size
from search.propose.allocation import FIRST, Terms, terms_of
from search.record.events import PaceSet
from search.space.spec import SearchSpec
from search.space.strategies import SCHEDULERS
from search.tune.reserve import LATE_SHARE
from search.tune.work import epoch_work, work_and_scores

SEARCH_SHARE = 0.6  # of a time budget: race, blend, test and refit have the rest
STARTS = 75  # trials that a search should begin in its seconds
WORTH_A_TRIAL = 10  # epochs of a typical config: rather fewer trials than shorter ones
LEAST_STARTS = 8  # but at least so many trials in any case
# Trainings that follow the search one after another, however many workers there are: in the race,
# on test, and for good; one more for a blend, whose other members are tested after the winner.
AFTER = 3
RUNGS = 2  # how often a trial is judged: with a factor of 3, after a ninth and a third of it
# The share of trials that survives a rung. It is not 1/3: a searcher that learns proposes ever
# better ones, and the first of a rung have nobody to be worse than (docs/experiments.md).
SURVIVE = 0.5
LEAST_EPOCHS = 3
EVAL_SHARE = 0.25  # of the training time of an epoch: evaluation that takes more samples users
LEAST_USERS = 2_500
WORTH_SAMPLING = 0.7  # of the users: a larger sample saves next to nothing
SAMPLED_OF_METHOD = 16
DEAREST = 8.0  # a method's trial counts as at most so many of the cheapest trials of any method
LARGER = 1.5  # times the bytes of a model: another one of its kind, worth a measurement of its own
NOMINAL = 4e10  # operations a second of an idle core: what is far below the budget needs no probe
WORTH_ASKING = 0.05  # of the search's seconds: shorter plans are not measured


@dataclass(frozen=True)
class Probed:
    """Measured seconds of one epoch of `work` operations, and of evaluating `users` users.

    kind: of the config that was trained. model_bytes: of its model, on all of the
    data.
    """

    kind: str
    work: float
    train_seconds: float
    eval_seconds: float
    users: int
    model_bytes: float = 0.0


class Growth(NamedTuple):
    """By how many `times` an operation takes longer with a model of `large` bytes than with one of
    `small` bytes. A small one is in the caches of the machine, a large one in its memory.
    """

    small: float
    large: float
    times: float

    def at(self, size: float) -> float:
        """By how many times with a model of `size` bytes: between the two by the logarithm."""
        size = min(max(size, self.small), self.large)
        part = math.log(size / self.small) / math.log(self.large / self.small)
        return float(self.times**part)


@dataclass(frozen=True)
class Pace:
    """How long trials may be, as decided for a run.

    rates: seconds per operation, by `kind` of config. trial_seconds: of the longest training.
    eval_seconds: of one evaluation, on the users that trials are validated on. users: how many
    these are, None for all. size: of the data that trials train on. growths: by kind, how the rate
    grows with the model, where that was measured.
    """

    rates: Mapping[str, float]
    trial_seconds: float
    eval_seconds: float
    users: int | None
    size: Size
    growths: Mapping[str, Growth] = field(default_factory=dict)

    def epoch_seconds(self, config: ModelConfig) -> float:
        """About how long one epoch and its evaluation take."""
        rate = self.rates.get(config.kind, max(self.rates.values()))
        if (growth := self.growths.get(config.kind)) is not None:
            rate *= growth.at(bytes_of(config, self.size))
        return rate * epoch_work(config, self.size) + self.eval_seconds

    def fit(self, config: ModelConfig) -> ModelConfig:
        """The config, with at most as many epochs as a trial may have."""
        asked = config.most_epochs
        if asked is None:
            return config
        fits = max(LEAST_EPOCHS, int(self.trial_seconds / self.epoch_seconds(config)))
        return config if fits >= asked else config.at_most(fits)

    def whole_seconds(self, config: ModelConfig) -> float:
        """About how many seconds a trial of a config takes on one core if it is not stopped."""
        epochs = self.fit(config).most_epochs
        if epochs is None:
            rate = float(np.median(list(self.rates.values())))
            return rate * epoch_work(config, self.size) + self.eval_seconds
        return epochs * self.epoch_seconds(config)

    def starts(self, spec: SearchSpec, seconds: float) -> int:
        """About how many trials of full length fit into a search with `seconds` on all its cores
        together.
        """
        return min(spec.trials, int(seconds / (self.trial_seconds * mean_share(spec))))

    def terms(self, spec: SearchSpec, seconds: float) -> Terms:
        """How trials are dealt out among methods where time limits them.

        seconds: of the search, on all its cores together. The first trials of all methods are at
        most a third of all trials. Costs are the seconds that this pace foresees, so that they are
        the same on a resume, whatever the trials took.
        """
        first = self.starts(spec, seconds) // (3 * max(1, len(spec.methods())))
        costs: dict[str, float] = {}
        for value in spec.methods():
            some = spec.of_method(value).drawn(SAMPLED_OF_METHOD)
            costs[str(value)] = float(np.median([self._trial(config, spec) for config in some]))
        least = max(costs.values(), default=1.0) / DEAREST
        return replace(
            terms_of(spec),
            first=max(1, min(FIRST, first)),
            costs={name: max(one, least) / least for name, one in costs.items()},
        )

    def _trial(self, config: ModelConfig, spec: SearchSpec) -> float:
        """Seconds of a trial that gets as far as trials do on average."""
        share = 1.0 if config.most_epochs is None else mean_share(spec)
        return share * self.whole_seconds(config)

    def to_event(self) -> PaceSet:
        """As the journal keeps it."""
        return PaceSet(
            rates=dict(self.rates),
            trial_seconds=self.trial_seconds,
            eval_seconds=self.eval_seconds,
            users=self.users,
            growths={kind: list(one) for kind, one in self.growths.items()} or None,
        )

    @staticmethod
    def from_event(event: PaceSet | None, train: CSR) -> Pace | None:
        """The pace that an earlier session decided on; None where it did not."""
        if event is None:
            return None
        growths = {kind: Growth(*one) for kind, one in (event.growths or {}).items()}
        return Pace(
            event.rates,
            event.trial_seconds,
            event.eval_seconds,
            event.users,
            Size.of(train),
            growths,
        )


def space_rungs(spec: SearchSpec) -> list[int]:
    """The epochs after which a trial of the length that the space sets is judged."""
    found, epoch = [], spec.grace_epochs
    while epoch < spec.max_epochs:
        found.append(epoch)
        epoch *= spec.reduction_factor
    return found


def paced_rungs(epochs: int, factor: int) -> list[int]:
    """The epochs after which a paced trial of at most `epochs` is judged; of the trials at each,
    the best 1/factor continue.
    """
    return [math.ceil(epochs / factor**k) for k in range(RUNGS, 0, -1)]


def to_probe(configs: Iterable[ModelConfig]) -> dict[str, ModelConfig]:
    """By kind, the first config of each kind that has epochs: a listed one where there is one."""
    found: dict[str, ModelConfig] = {}
    for config in configs:
        if config.most_epochs is not None:
            found.setdefault(config.kind, config)
    return found


def larger_ones(configs: Sequence[ModelConfig], size: Size) -> list[ModelConfig]:
    """The config with the largest model of each kind of `to_probe`, where that has at least
    `LARGER` times the bytes of the one there.

    configs: as `to_probe` takes them. size: of the training data.
    """
    found = []
    for kind, first in to_probe(configs).items():
        like = [one for one in configs if one.kind == kind and one.most_epochs is not None]
        largest = max(like, key=lambda one: bytes_of(one, size))
        if bytes_of(largest, size) >= LARGER * bytes_of(first, size):
            found.append(largest)
    return found


def planned_seconds(
    spec: SearchSpec, configs: Sequence[ModelConfig], seconds: Callable[[ModelConfig], float]
) -> float:
    """The seconds that all trials of a space take on one core, if none runs out of patience.

    configs: typical ones, for their mean cost. seconds: of one epoch of a config. With ASHA a trial
    has on average the epochs up to its first rung, a third of those up to the next, and so on.
    """
    epochs = mean_epochs(spec)
    costs = [seconds(c) * (epochs if c.most_epochs is not None else 1.0) for c in configs]
    return spec.trials * float(np.mean(costs))


def mean_epochs(spec: SearchSpec) -> float:
    """Epochs that a trial of the space has on average: see `planned_seconds`."""
    if not SCHEDULERS[spec.scheduler].early:
        return float(spec.max_epochs)
    return mean_length([*space_rungs(spec), spec.max_epochs], 1 / spec.reduction_factor)


def mean_length(ends: Sequence[float], survival: float) -> float:
    """How far a trial gets on average if it may end at each of `ends`, ascending.

    The last of these is its whole length. survival: the share of trials that survives a rung.
    """
    return sum((b - a) * survival**k for k, (a, b) in enumerate(pairwise([0.0, *ends])))


def worth_asking(
    spec: SearchSpec, configs: Sequence[ModelConfig], size: Size, budget: float, concurrent: int
) -> bool:
    """Whether the trials might not fit into the search, so that an epoch should be measured.

    configs: typical ones. size: of the training data. budget: seconds of the whole run.
    concurrent: trials at a time.
    """

    def nominal(config: ModelConfig) -> float:
        return work_and_scores(config, size) / NOMINAL

    if planned_seconds(spec, configs, nominal) > WORTH_ASKING * search_seconds(budget, concurrent):
        return True
    most = WORTH_ASKING * longest_seconds(spec, budget, concurrent)
    return any((c.most_epochs or 0) * nominal(c) > most for c in configs)


def search_seconds(budget: float, concurrent: int) -> float:
    """The seconds of a time budget that the search has on all its cores together.

    budget: seconds of the whole run. concurrent: trials at a time.
    """
    return SEARCH_SHARE * budget * concurrent


def longest_seconds(spec: SearchSpec, budget: float, concurrent: int) -> float:
    """How long a single trial may take, however many workers there are.

    Then the trial ends within the search, and what it was good for after it: race, test and refit
    each train a config as long as it (`AFTER`). A search of few trials on many workers is over
    before its share of the budget, and its trials may be longer.

    budget: seconds of the whole run. concurrent: trials at a time.
    """
    rounds = max(1.0, spec.trials * mean_share(spec) / concurrent)
    after = (AFTER + bool(spec.blend)) / LATE_SHARE
    return budget * max((1 - SEARCH_SHARE) / after, 1 / (rounds + after))


def full_length(probed: Sequence[Probed], size: Size, users: int) -> Pace:
    """The pace of trials as long as the space has them, validated on all `users`.

    probed: what was measured. size: of the training data.
    """
    measured: dict[str, dict[float, list[float]]] = {}
    for one in probed:
        of_kind = measured.setdefault(one.kind, {})
        of_kind.setdefault(one.model_bytes, []).append(one.train_seconds / one.work)
    rates, growths = {}, {}
    for kind, by_bytes in measured.items():
        small, large = min(by_bytes), max(by_bytes)
        rates[kind] = float(np.median(by_bytes[small]))
        if large > small > 0:
            times = float(np.median(by_bytes[large])) / rates[kind]
            growths[kind] = Growth(small, large, times)
    each = float(np.median([one.eval_seconds / one.users for one in probed]))
    return Pace(rates, math.inf, each * users, None, size, growths)


def make_pace(
    spec: SearchSpec,
    configs: Sequence[ModelConfig],
    probed: Sequence[Probed],
    size: Size,
    users: int,
    budget: float,
    concurrent: int,
    evaluated: int | None = None,
) -> Pace | None:
    """The pace of a search; None if all trials fit into its time, each by itself too.

    spec: the space. configs: its examples. probed: a measured epoch of each kind. size: of the
    training data. users: how many can be evaluated. budget: seconds of the whole run. concurrent:
    trials at a time. evaluated: on how many users trials are validated, where earlier ones of the
    run have decided that; None: it is chosen.
    """
    seconds, most = search_seconds(budget, concurrent), longest_seconds(spec, budget, concurrent)
    with_epochs = [c for c in configs if c.most_epochs is not None]
    plain = full_length(probed, size, users)
    each = plain.eval_seconds / max(users, 1)
    crowded = planned_seconds(spec, with_epochs, plain.epoch_seconds) > seconds
    longest = max((c.most_epochs or 0) * plain.epoch_seconds(c) for c in with_epochs)
    if not crowded and longest <= most:
        return None
    training = float(np.median([plain.epoch_seconds(c) - plain.eval_seconds for c in with_epochs]))
    kept = None if evaluated is None or evaluated >= users else evaluated
    if evaluated is None and each * users > EVAL_SHARE * training:
        kept = max(LEAST_USERS, int(EVAL_SHARE * training / each))
        kept = None if kept > WORTH_SAMPLING * users else kept
    share = mean_share(spec)
    evaluation = each * (users if kept is None else kept)
    all_of_it = seconds / share
    trial = min(
        max(all_of_it / min(STARTS, spec.trials), WORTH_A_TRIAL * (training + evaluation)),
        all_of_it / min(LEAST_STARTS, spec.trials),
    )
    longest = min(trial, most) if crowded else most
    return replace(plain, trial_seconds=longest, eval_seconds=evaluation, users=kept)


def mean_share(spec: SearchSpec) -> float:
    """The share of its length that a paced trial is trained on average, if none loses patience."""
    if not SCHEDULERS[spec.scheduler].early:
        return 1.0
    factor = float(spec.reduction_factor)
    return mean_length([factor**-k for k in range(RUNGS, -1, -1)], SURVIVE)
