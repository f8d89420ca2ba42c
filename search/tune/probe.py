"""What a trial costs on this machine and data: before the first trial, the workers measure epochs.

Nothing is measured where a rough count of operations says that the trials are far from filling
the time.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys.blending import depth_of
from recsys.bounds import LEAST_USERS
from recsys.evaluation import top_items
from recsys.interactions import CSR
from recsys.models import Model, ModelConfig, bytes_of, new_model
from recsys.models.base import Size
from recsys.split import Split
from search.machine.cluster import Cluster, Failure, Resources
from search.space.spec import SearchSpec
from search.space.strategies import SCHEDULERS
from search.tune.need import task_bytes, trial_bytes
from search.tune.pace import (
    Pace,
    Probed,
    full_length,
    larger_ones,
    make_pace,
    search_seconds,
    to_probe,
    worth_asking,
)
from search.tune.sampling import part_of, watched_users
from search.tune.work import epoch_work
from search.tune.worker import TrialData, limit_threads, own_device, prepare
from search.words import counted, span

MOST_PROBES = 16  # at once, on a cluster
FIRST_WORK = 5e8  # operations of the first epoch that is measured
PROBE_S = 0.4  # seconds of training to measure, at least
PROBE_SHARE = 0.01  # of the budget: an epoch that takes less is measured whole
# Too few for bounds (`recsys.bounds`): these rule out much in a model of one epoch, and may rule
# out nothing in one that has learned, which is then evaluated by all its scores, like these users.
PROBE_USERS = LEAST_USERS - 1
SHORT = 6  # epochs: a search of trials as short as that tells little
LONG_S = 3600.0  # a search without a time budget is measured where it takes longer


def run_probe(
    config: ModelConfig, data: TrialData, first: float, longest: float
) -> Probed | Failure:
    """Measure an epoch of a config, for `search.tune.pace`.

    It is a whole epoch where that takes at most `longest` seconds, and otherwise one of as many
    users as take `PROBE_S`. A whole one is better: few users fit into the caches, so an epoch of
    them is faster than their share. first: the share of the users to begin with; they are trained
    on twice, since the first time loads the compiled code.
    """
    limit_threads(data.threads)
    config = config.for_epochs(1)
    try:
        share = first
        _probe_epoch(config, data, share)
        while True:
            model, train, seconds = _probe_epoch(config, data, share)
            if share >= 1.0:
                break
            if seconds >= PROBE_S:
                if seconds > share * longest:
                    break
                share = 1.0
            else:
                share = min(1.0, share * max(2.0, 1.5 * PROBE_S / max(seconds, 1e-3)))
        users = np.arange(min(PROBE_USERS, train.n_users))
        depth = min(depth_of(data.metric), train.n_items)
        # once in the way that is measured: a single user is ranked by other code than many
        top_items(model, train, users, depth, threads=data.threads)
        began = time.perf_counter()
        top_items(model, train, users, depth, threads=data.threads)
        eval_seconds = time.perf_counter() - began
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())
    work, held = epoch_work(config, Size.of(train)), bytes_of(config, Size.of(data.train))
    return Probed(config.kind, work, seconds, eval_seconds, len(users), held)


def _probe_epoch(config: ModelConfig, data: TrialData, share: float) -> tuple[Model, CSR, float]:
    """A model after one epoch on a share of the users, what it trained on, and the seconds."""
    prepare(config, data)
    train = part_of(data.train, share)
    rng = np.random.default_rng(0)
    model = new_model(config, train, rng)
    epochs = model.train(
        config, train, None, rng=rng, threads=data.threads, device=own_device(data.device)
    )
    return model, train, sum(report.train_seconds for report in epochs)


@dataclass(frozen=True)
class Measured:
    """What the epochs of a space cost here. full: the `Pace` without limits. users: how many can be
    evaluated. concurrent: trials at a time. budget: seconds of the whole run, None for no limit.
    threads: of a trial.
    """

    spec: SearchSpec
    configs: Sequence[ModelConfig]
    probed: Sequence[Probed]
    full: Pace
    users: int
    concurrent: int
    budget: float | None
    threads: int

    def pace(self, evaluated: int | None = None) -> Pace | None:
        """How long trials may be; None where all of them fit into the time at full length.

        evaluated: on how many users trials are validated, where that is decided.
        """
        if self.budget is None:
            return None
        return make_pace(
            self.spec,
            self.configs,
            self.probed,
            self.full.size,
            self.users,
            self.budget,
            self.concurrent,
            evaluated,
        )

    def at_full_length(self, evaluated: int) -> Pace:
        """A pace that shortens no trial, validated on `evaluated` of the users."""
        kept = None if evaluated >= self.users else evaluated
        each = self.full.eval_seconds * evaluated / max(self.users, 1)
        plain = replace(self.full, eval_seconds=each, users=kept)
        longest = max((c.most_epochs or 0) * plain.epoch_seconds(c) for c in self.with_epochs())
        return replace(plain, trial_seconds=2 * longest)  # twice: examples are not all configs

    def _seconds(self) -> float:
        """The seconds of the search, on all its cores together."""
        return search_seconds(self.budget or 0.0, self.concurrent)

    def starts(self, pace: Pace) -> int:
        """About how many trials the search begins in its time."""
        return pace.starts(self.spec, self._seconds())

    def with_epochs(self) -> list[ModelConfig]:
        """The configs whose models train in epochs: only these have a length to choose."""
        return [c for c in self.configs if c.most_epochs is not None]

    def words(self) -> str:
        """What a trial costs, in one line."""
        seconds = sorted(
            self.full.epoch_seconds(c) * (c.most_epochs or 0) for c in self.with_epochs()
        )
        memory = max(trial_bytes(c, self.full.size, self.threads) for c in self.configs)
        middle, least, most = seconds[len(seconds) // 2], seconds[0], seconds[-1]
        return (
            f"a trial of {counted(self.spec.max_epochs, 'epoch')} takes about {span(middle)} "
            f"({span(least)} to {span(most)}, by its config) and up to {memory / 1e6:,.0f} MB "
            "beside the data"
        )

    def pace_words(self, pace: Pace) -> list[str]:
        """What the user is told about the length of trials, as lines."""
        spec = self.spec
        lengths = sorted(pace.fit(c).most_epochs or 0 for c in self.with_epochs())
        short, middle, long = lengths[0], lengths[len(lengths) // 2], lengths[-1]
        factor = spec.reduction_factor
        starts = self.starts(pace)
        early = SCHEDULERS[spec.scheduler].early
        judged = f", judged after 1/{factor**2} and 1/{factor} of them" if early else ""
        half = f"most of them {long}" if middle == long else f"half of them at most {middle}"
        lines = [
            f"so that about {counted(starts, 'trial')} fit into the time budget, a trial has at "
            f"most {short} to {long} epochs ({half}){judged}"
        ]
        if pace.users is not None:
            lines.append(
                f"trials are validated on {pace.users:,} of {self.users:,} users; the race and the "
                "test are on all of them"
            )
        if middle <= SHORT:
            lines.append(
                "note: the time budget is small for this data: few trainings will be completed "
                "(a larger --time-budget or smaller latent_factors help)"
            )
        return lines


def first_share(configs: Sequence[ModelConfig], size: Size) -> float:
    """The share of the users to begin a measurement of these configs with."""
    return min(1.0, FIRST_WORK / max(epoch_work(c, size) for c in configs))


def data_of(split: Split, metric: str, threads: int, device: str) -> TrialData:
    """What an epoch is measured on: the training and validation parts of a split, by one metric.

    threads, device: of the worker that measures it.
    """
    return TrialData(
        train=split.train,
        valid=split.valid,
        test=None,
        metric=metric,
        metrics=(metric,),
        rungs=(),
        threads=threads,
        device=device,
    )


def measure(
    cluster: Cluster,
    resources: Resources,
    spec: SearchSpec,
    data: TrialData,
    budget: float | None,
    *,
    asked: bool = False,
) -> Measured | None:
    """Measure an epoch of each kind of config, and of the largest model of each where they differ
    in size, on all workers at once, as the trials will run.

    resources: of a trial. spec: the space. data: what the trials train and are validated on.
    budget: seconds of the whole run, None for no limit. asked: whether the user asks for what a
    trial costs. Returns None where the trials surely take only a small part of the budget (without
    one: of `LONG_S`) and nobody asked, where no config has epochs, and where none could be trained.
    """
    configs, size = list(spec.examples()), Size.of(data.train)
    within = LONG_S if budget is None else budget
    if not asked and not worth_asking(spec, configs, size, within, resources.concurrent):
        return None
    kinds = list(to_probe(configs).values())
    if not kinds:
        return None
    both = [*kinds, *larger_ones(configs, size)]
    first = first_share(both, size)
    side_by_side = min(resources.concurrent, MOST_PROBES)
    tasks = [c for c in both for _ in range(-(-side_by_side // len(kinds)))]
    shared = cluster.put(data)
    longest = PROBE_SHARE * within
    memory = [task_bytes(resources, [c], size) for c in tasks]
    calls = [(c, shared, first, longest) for c in tasks]
    answers = cluster.map(run_probe, calls, resources, memory)
    probed = [answer for _, answer in answers if isinstance(answer, Probed)]
    if not probed:
        return None  # the trials will say why
    users = watched_users(data.train, data.valid)
    full = full_length(probed, size, users)
    threads = resources.cpus_per_trial
    return Measured(spec, configs, probed, full, users, resources.concurrent, budget, threads)
