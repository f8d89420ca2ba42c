"""result.json: the summary of a run, also of one that did not finish."""

from __future__ import annotations

import numpy as np

from recsys.data import Dataset
from recsys.split import Split
from search.record.events import StageMarked, StageState, State, Status
from search.record.folder import JOURNAL
from search.record.handed import handed_over
from search.record.journal import read_events
from search.record.planned import configs_left, distinct
from search.record.result import (
    VERSION,
    BlendResult,
    Counts,
    Race,
    RunResult,
    Tested,
    blended,
    decided,
    refitted,
    tested,
)
from search.record.settings import Settings
from search.record.standing import leader
from search.record.state import RunState
from search.space.spec import SearchSpec
from search.stages.context import Stages
from search.tune.importance import Shares, importance


def result(run: Stages, status: Status) -> RunResult:
    """What result.json says; also for a run that did not finish."""
    state = run.state
    mattered = Shares({}, {})
    if status == Status.DONE:
        mattered = importance(run.study(), np.random.default_rng([run.settings.seed, 10]))
    more = {
        "status": status,
        "importance": mattered.shares,
        "importance_ci": dict(mattered.intervals),
        "test_reads": test_reads(run),
        "configs_left": configs_left(run.spec, state),
        "wall_s": state.wall_s(),
        "busy_fraction": _busy_fraction(run),
    }
    found = told(state, run.folder.name, run.spec, run.settings, run.dataset, run.split)
    return found.model_copy(update=more)


def told(
    state: RunState, name: str, spec: SearchSpec, settings: Settings, dataset: Dataset, split: Split
) -> RunResult:
    """What a journal says of its run, for a search and for `refit`: without how long it took, what
    mattered, and what is left to try."""
    counts = state.counts()
    race = decided(state)
    test = tested(state) or Tested()
    best = (state.trials.get(race.winner) if race else None) or leader(state.in_order())
    excludes = sorted({t.config.get("negatives_exclude", "train") for t in state.trials.values()})
    return RunResult(
        version=VERSION,
        status=state.status,
        run=name,
        purpose=spec.purpose,
        data=dataset.interactions.name,
        metric=spec.metric,
        valid=best.value if best else None,
        test=(test.values or {}).get(spec.metric),
        test_ci=test.ci,
        test_metrics=test.values,
        test_users=test.users,
        test_comparisons=test.comparisons,
        split=split.name,
        split_digest=split.digest,
        negatives_exclude=excludes[0] if len(excludes) == 1 else tuple(excludes),
        baselines={name: one.baseline(spec.metric) for name, one in test.baselines.items()},
        best_trial=best.id if best else None,
        best_config=best.config if best else None,
        best_params=best.params if best else None,
        best_epoch=(race.epochs if race else 0) or (best.best_epoch if best else None),
        trials=Counts(
            completed=counts[State.COMPLETE],
            pruned=counts[State.PRUNED],
            failed=counts[State.FAILED],
        ),
        configs=distinct(t.config for t in state.trials.values()),
        race=Race(
            replicates=race.replicates if race else 0,
            finalists=race.finalists if race else (),
            comparisons=race.comparisons if race else (),
            winner_is_default=race.is_default if race else False,
        ),
        blend=_blend(state, test, spec.metric),
        handed=handed_over(state),
        split_orders=refit.orders if (refit := refitted(state)) else None,
        seed=settings.seed,
    )


def _blend(state: RunState, test: Tested, metric: str) -> BlendResult | None:
    """The blend with what it reached, where there is one."""
    found = blended(state)
    if found is None:
        return None
    known = found.model_dump(include=set(BlendResult.model_fields))
    if test.blend is not None:
        known |= {
            "test": test.blend.values.get(metric),
            "test_ci": test.blend.ci,
            "test_metrics": test.blend.values,
            "test_comparisons": test.blend.comparisons,
        }
    return BlendResult(**known)


def test_reads(run: Stages) -> int:
    """How often the test items were looked at: more than once where a run was extended."""
    events = (event for event, _ in read_events(run.folder.path / JOURNAL))
    return sum(
        isinstance(event, StageMarked)
        and (event.name, event.state) == ("test", StageState.DONE)
        and bool((event.data or {}).get("values"))
        for event in events
    )


def _busy_fraction(run: Stages) -> float | None:
    """Time in training and evaluation / (wall x cores); a trial of c threads counts c times."""
    share = run.state.busy_fraction(run.resources.cores)
    return None if share is None else share * run.resources.cpus_per_trial
