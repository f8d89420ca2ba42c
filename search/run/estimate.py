"""What a search with a space takes here, for `data` and `--dry-run`: minutes, trials and memory.

For `data` epochs are measured in this process, without Ray: as many at a time as a search trains,
on threads, since the compiled code holds no lock of Python. `--dry-run` has them from the workers
of a search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from threadpoolctl import threadpool_limits

from recsys.data import Dataset
from recsys.errors import UserError
from recsys.evidence import suited
from recsys.models.base import Size
from recsys.split import HoldOut, Split, SplitPlan, make_split
from search.machine.cluster import Failure
from search.machine.cores import usable_cores
from search.machine.memory import usable_memory
from search.record.settings import DEFAULT_SEED
from search.run.need import fit_memory
from search.space.spec import SearchSpec
from search.tune.need import trial_bytes
from search.tune.pace import NOMINAL, Probed, full_length, larger_ones, planned_seconds, to_probe
from search.tune.probe import Measured, data_of, first_share, run_probe
from search.tune.sampling import watched_users
from search.tune.work import whole_work
from search.tune.worker import TrialData
from search.words import counted, duration, gigabytes, span

BUDGET = 600.0  # seconds of the example search
LONGEST = 1.0  # seconds: an epoch that takes less is measured whole
MOST_THREADS = 4
BESIDE_S = 20.0  # seconds of a search besides its trainings: Ray, starting workers, the report
BESIDE_TRIAL_S = 0.1  # seconds of a trial besides its training
ONE = HoldOut("fixed", 1)


def estimate(dataset: Dataset, spec: SearchSpec, progress: Callable[[str], None]) -> Iterator[str]:
    """Lines on what a search of `spec` takes on this machine; a note where it can't be measured.

    progress: called with a line before each measurement.
    """
    notes: list[str] = []
    try:
        split = _split(dataset, spec)
        concurrent, size = usable_cores(), Size.of(split.train)
        spec = fit_memory(spec, size, usable_memory(), concurrent, 1, notes.append)
    except UserError as error:
        yield f"note: how long a search takes cannot be measured: {error}"
        return
    yield from notes
    data = data_of(split, spec.metric, threads=1, device="cpu")
    found = list(_measured(spec, data, concurrent, progress))
    probed = [one for one in found if isinstance(one, Probed)]
    if not probed:
        cause = next(
            (one.cause for one in found if isinstance(one, Failure)), "no model of it has epochs"
        )
        yield f"note: how long a search takes cannot be measured: {cause}"
        return
    users = watched_users(split.train, split.valid)
    yield from Told(spec, probed, size, users, concurrent).lines()


def _split(dataset: Dataset, spec: SearchSpec) -> Split:
    """The split of the space; where that would hold nothing out, one item of every user."""
    try:
        return make_split(dataset, suited(dataset, spec.split), DEFAULT_SEED)
    except UserError:
        return make_split(dataset, SplitPlan("random", ONE, ONE), DEFAULT_SEED)


def _measured(
    spec: SearchSpec, data: TrialData, concurrent: int, progress: Callable[[str], None]
) -> Iterator[Probed | Failure]:
    """An epoch of each kind of model, on as many threads as a search has trials at a time."""
    configs, size = list(spec.examples()), Size.of(data.train)
    kinds = [*to_probe(configs).values(), *larger_ones(configs, size)]
    if not kinds:
        return
    first = first_share(kinds, size)
    threads = min(concurrent, MOST_THREADS)
    # In a worker numpy's products have a single thread. Here they would have one per core, which
    # wait for each other where another program has a core: iALS took four times as long.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for number, config in enumerate(kinds, 1):
            progress(f"measuring an epoch of {config.label()} ({number} of {len(kinds)})")
            tasks = [pool.submit(run_probe, config, data, first, LONGEST) for _ in range(threads)]
            yield from (task.result() for task in tasks)


def later_trainings(spec: SearchSpec) -> int:
    """How many models the stages after the search train, whatever the number of trials: those who
    race on every split, then the members of a blend, and the winner twice.
    """
    return spec.racers() * spec.race.replicates + (spec.blend or 0) + 2


def counted_words(spec: SearchSpec, size: Size, threads: int) -> str:
    """What a trial costs where nothing could be measured, in one line: by a count of operations, on
    a core that nobody else uses. size: of the training data. threads: of a trial.
    """
    configs = list(spec.examples())
    seconds = sorted(whole_work(config, size) / NOMINAL for config in configs)
    memory = max(trial_bytes(config, size, threads) for config in configs)
    return (
        f"a trial takes about {span(seconds[len(seconds) // 2])} ({span(seconds[0])} to "
        f"{span(seconds[-1])}, by its config; not measured, but from a count of operations) and up "
        f"to {memory / 1e6:,.0f} MB beside the data"
    )


@dataclass(frozen=True)
class Told:
    """What was measured. users: how many can be evaluated. concurrent: trials at a time."""

    spec: SearchSpec
    probed: Sequence[Probed]
    size: Size
    users: int
    concurrent: int

    def lines(self) -> Iterator[str]:
        """What a trial and a search take, and how much memory."""
        full = self._within(None)
        yield f"{full.words()}; the mean, with trials that are stopped early, is {span(self._mean)}"
        yield self.whole(self.spec.time_budget)
        yield f"in ten minutes (--time-budget 10m) it begins {self._begun(BUDGET)}"
        each = max(trial_bytes(c, self.size, 1) for c in self.spec.examples())
        yield (
            f"memory: trials take up to {gigabytes(self.concurrent * each)} "
            f"({self.concurrent} at a time), of the {gigabytes(usable_memory())} here"
        )

    @cached_property
    def _mean(self) -> float:
        """The seconds of a trial on average, with those that are stopped early."""
        full = self._within(None)
        total = planned_seconds(self.spec, full.with_epochs(), full.full.epoch_seconds)
        return total / self.spec.trials

    def whole(self, limit: float | None) -> str:
        """How long a search takes with a time budget of `limit` seconds, in one line."""
        spec, at = self.spec, f"{self.concurrent} at a time"
        trainings = spec.trials + later_trainings(spec)
        whole = BESIDE_S + trainings * (self._mean + BESIDE_TRIAL_S) / self.concurrent
        if limit is not None and whole > limit:
            return (
                f"a whole search (--space {spec.name}) takes its time budget of "
                f"{duration(limit)}, with {self._begun(limit)}, {at}; all {spec.trials} in full "
                f"length would take about {duration(whole)}"
            )
        stages = [*(["race"] if spec.race.finalists else []), *(["blend"] if spec.blend else [])]
        return (
            f"a whole search (--space {spec.name}) takes about {duration(whole)}: "
            f"{counted(spec.trials, 'trial')}, {at}, and {', '.join([*stages, 'test'])} and refit"
        )

    def _begun(self, budget: float) -> str:
        """How many trials a search with a time budget of `budget` seconds begins."""
        within = self._within(budget)
        pace = within.pace()
        if pace is None:
            return f"all {self.spec.trials} trials"
        return (
            f"about {counted(within.starts(pace), 'trial')}, with fewer epochs for costly configs"
        )

    def _within(self, budget: float | None) -> Measured:
        full = full_length(self.probed, self.size, self.users)
        return Measured(
            self.spec,
            list(self.spec.examples()),
            self.probed,
            full,
            self.users,
            self.concurrent,
            budget,
            threads=1,
        )
