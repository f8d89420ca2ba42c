"""The race: the best configs of the search, trained again on fresh splits with fresh seeds.

A search reports the largest of many noisy numbers, so its best value is too high and its ranking
is partly luck. Here the finalists meet on splits that none of them was chosen on, and the mean
decides. Test items take no part: the fresh splits divide training and validation items again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.models import ModelConfig, bytes_of
from recsys.models.base import Size
from recsys.split import Split, SplitPlan, resplit
from search.machine.cluster import Cluster, Failure, Resources
from search.record.events import RacePlanned, ReplicateRaced
from search.record.state import RunState
from search.space.trial import trial_seed
from search.stages.rivals import ChoiceTask, Chosen, choose_beside
from search.stages.winner import learned
from search.stages.work import Work, on_workers
from search.stats import PairedComparison, compare_paired, holm
from search.tune.replicate import ReplicateResult, ReplicateTask, run_replicate
from search.tune.worker import TrialData


@dataclass(frozen=True)
class Racer:
    """A config that races. `id` is the trial it comes from."""

    id: str
    config: ModelConfig


@dataclass(frozen=True)
class Standing:
    """A finalist after the race. values: of each fresh split, in order, each half of its users at
    the epoch that the other half found best. best_epochs: of each, by all users who choose.
    """

    id: str
    values: tuple[float, ...]
    best_epochs: tuple[int, ...]

    @property
    def mean(self) -> float:
        """The mean over the splits, by which finalists are ranked."""
        return float(np.mean(self.values))

    @property
    def epochs(self) -> int:
        """The epochs that a training without validation gets: the median of the best ones."""
        return learned(self.best_epochs)


def fresh_splits(split: Split, plan: SplitPlan, run_seed: int, replicates: int) -> Iterator[Split]:
    """`replicates` new divisions of train + valid, each made when it is asked for.

    split, plan: those of the run; test items stay out. run_seed: the run's; the seeds of the
    divisions are derived from it, and are far from those that searches use.
    """
    children = np.random.SeedSequence([run_seed, 0x5ACE]).generate_state(replicates, np.uint32)
    return (resplit(split, plan, int(seed)) for seed in children)


def run_race(
    cluster: Cluster,
    resources: Resources,
    data: TrialData,
    finalists: Sequence[Racer],
    splits: Iterable[Split],
    run_seed: int,
    already: set[tuple[str, int]],
    rivals: Sequence[ChoiceTask] = (),
    enough: Callable[[], bool] = lambda: False,
    *,
    one_by_one: bool = False,
) -> Generator[tuple[ReplicateTask | ChoiceTask, ReplicateResult | Chosen | Failure]]:
    """Every task with its result, as they finish: each finalist on each of the `splits`, and the
    choice of each of the `rivals`.

    resources: of a task. data: what the trials of the run share. run_seed: the run's; the seeds of
    the trainings depend on it. already: (finalist, split number) pairs that are done. enough: as in
    `Cluster.map`. one_by_one: whether a finalist is sent to every split before the next one is, in
    place of all of them to a split before the next. A task whose worker kept dying has failed, like
    one that diverged. Closing the generator cancels what has not finished. Raises NoWorkersError
    where no worker starts.
    """
    shared = cluster.put(data)
    halves: dict[int, tuple[Any, Any]] = {}
    tasks: list[ReplicateTask] = []
    for replicate, split in enumerate(splits):
        missing = [one for one in finalists if (one.id, replicate) not in already]
        if missing:
            halves[replicate] = cluster.put(split.train), cluster.put(split.valid)
        tasks += (
            ReplicateTask(
                one.id,
                replicate,
                one.config,
                trial_seed(run_seed + 1 + replicate, one.config.key()),
                split.seed,
            )
            for one in missing
        )
    if one_by_one:
        place = {one.id: at for at, one in enumerate(finalists)}
        tasks.sort(key=lambda task: place[task.config_id])
    # rivals first: choosing one takes as long as several trainings, and can't be divided
    works: list[Work[ReplicateResult | Chosen | Failure]] = [
        *(Work(choose_beside, (task, shared), task.rival.configs) for task in rivals),
        *(
            Work(
                run_replicate,
                (task, shared, *halves[task.replicate]),
                (task.config,),
                copies_bytes(data, task.config),
            )
            for task in tasks
        ),
    ]
    everything: list[ReplicateTask | ChoiceTask] = [*rivals, *tasks]
    for index, answer in on_workers(cluster, resources, works, Size.of(data.train), enough):
        yield everything[index], answer


def copies_bytes(data: TrialData, config: ModelConfig) -> int:
    """Bytes of the copies of its weights that a training of the race keeps: two, and the bytes of
    a model count its weights and their best copy.
    """
    if data.sampled is None or config.most_epochs is None:
        return 0
    return bytes_of(config, Size.of(data.train))


def per_user_file(folder: Path, config_id: str, replicate: int) -> Path:
    """Where the values per user of one race result are kept."""
    return folder / "race" / f"{config_id}-{replicate}.npz"


def load_per_user(
    folder: Path, config_id: str, replicates: int, n_users: int
) -> NDArray[np.float64]:
    """A finalist's values per user, float64 (R, U), NaN where a user has nothing held out."""
    values_RU = np.full((replicates, n_users), np.nan)
    for r in range(replicates):
        with np.load(per_user_file(folder, config_id, r), allow_pickle=False) as stored:
            values_RU[r, stored["users"]] = stored["values"]
    return values_RU


def standings(rows: Iterable[ReplicateRaced], replicates: int) -> list[Standing]:
    """The finalists that finished every replicate, best mean first (ties: earlier trial)."""
    by_id: dict[str, dict[int, ReplicateRaced]] = {}
    for row in rows:
        if not row.failed:
            by_id.setdefault(row.config_id, {})[row.replicate] = row
    table = []
    for config_id, runs in by_id.items():
        if len(runs) == replicates:
            ordered = [runs[r] for r in range(replicates)]
            table.append(
                Standing(
                    config_id,
                    tuple(_known(r.value) for r in ordered),
                    tuple(int(_known(r.best_epoch)) for r in ordered),
                )
            )
    return sorted(table, key=lambda s: (-s.mean, s.id))


def sound_splits(rows: Iterable[ReplicateRaced], planned: int, replicates: int) -> int:
    """How many of the splits count: those before the first failure on a split beyond `planned`.

    A failure on a planned split costs the race that finalist. One on a split that was added because
    there was time costs the race that split and those after it, but no finalist.
    """
    failed = {(row.config_id, row.replicate) for row in rows if row.failed}
    out = {name for name, replicate in failed if replicate < planned}
    spoilt = [r for name, r in failed if planned <= r < replicates and name not in out]
    return min(spoilt, default=replicates)


def rows_that_count(state: RunState) -> list[ReplicateRaced]:
    """The race's results, without those of versions before ADR 169, or before ADR 208 where trials
    are validated on a sample, which measured differently.
    """
    return [row for row in state.race.values() if row.failed or measured_as_now(state, row)]


def measured_as_now(state: RunState, row: ReplicateRaced) -> bool:
    """Whether a result may stand beside those that this version measures."""
    return bool(row.crossed) and row.sampled == (None if state.pace is None else state.pace.users)


def whole_part(
    grid: RacePlanned, there: Collection[tuple[str, int]], failed: Collection[tuple[str, int]] = ()
) -> RacePlanned:
    """What of a race is whole: all finalists but those that have come late (`grid.joining`) and
    have not every split, or failed on one; on as many splits as these have a result of.

    there: as in `whole_splits`. failed: those of them that are failures.
    """
    joining = grid.joining or ()
    splits = whole_splits(there, [n for n in grid.racers if n not in joining], grid.replicates)
    bad = {name for name, _ in failed}
    out = [n for n in joining if n in bad or whole_splits(there, [n], splits) < splits]
    racers = tuple(n for n in grid.racers if n not in out)
    return replace(grid, racers=racers, replicates=splits)


def whole_splits(there: Collection[tuple[str, int]], racers: Sequence[str], replicates: int) -> int:
    """How many splits, counted from the first one, have a result of every racer.

    there: the racer's id and the split of each result.
    """
    return next(
        (r for r in range(replicates) if any((name, r) not in there for name in racers)), replicates
    )


def _known(value: float | None) -> float:
    assert value is not None, "a replicate that did not fail has a value"
    return value


def compare_with(
    table: Sequence[Standing],
    rivals: Sequence[str],
    per_user: Callable[[str], NDArray[np.float64]],
    rng: np.random.Generator,
) -> dict[str, PairedComparison]:
    """The winner (first of `table`) against each rival, paired over users, Holm-corrected.

    rivals: ids of finalists. per_user: the values (R, U) of a finalist, by its id.
    """
    winner = table[0].id
    mine = per_user(winner)
    found = {rival: compare_paired(mine, per_user(rival), rng) for rival in rivals}
    return holm(found)
