"""result.json: the summary of a run, finished or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from search.propose.importance import importance
from search.record.events import StageMarked, StageState, State, Status
from search.record.folder import JOURNAL, RunFolder
from search.record.handed import handed_over
from search.record.journal import read_events
from search.record.planned import configs_left, distinct
from search.record.result import (
    VERSION,
    Blended,
    BlendResult,
    Comparison,
    Counts,
    Deciding,
    Groups,
    Newcomers,
    OfValue,
    Race,
    RefitOf,
    RunResult,
    Tested,
    blended,
    decided,
    refit_of,
    refitted,
    tested,
)
from search.record.settings import Settings, settings_of
from search.record.standing import by_value, leader
from search.record.state import RunState, TrialRecord
from search.space.load import load_run_spec
from search.space.spec import SearchSpec
from search.stages.context import Stages


def result(run: Stages, status: Status) -> RunResult:
    """What result.json says of a run with this status, finished or not."""
    state = run.state
    more = {
        "status": status,
        **(mattered(state, run.spec, run.settings.seed) if status == Status.DONE else {}),
        "test_reads": test_reads(run.folder),
        "configs_left": configs_left(run.spec, state),
        "wall_s": state.wall_s(),
        "busy_fraction": _busy_fraction(run),
    }
    return told(state, run.folder.name, run.spec, run.settings).model_copy(update=more)


def remade(folder: RunFolder) -> RunResult:
    """What result.json of a finished run said, made again from its journal and space alone.

    It has no busy fraction, since the journal does not have the number of cores.
    """
    state, spec = folder.state(), load_run_spec(folder.path)
    settings = settings_of(state)
    more: dict[str, Any] = {"test_reads": test_reads(folder), "wall_s": state.wall_s()}
    if (of := refit_of(state)) is not None:
        more |= of_refit(of, (tested(state) or Tested()).comparisons)
    else:
        more |= mattered(state, spec, settings.seed)
        more["configs_left"] = configs_left(spec, state)
    return told(state, folder.name, spec, settings).model_copy(update=more)


def of_refit(of: RefitOf, rivals: tuple[Comparison, ...]) -> dict[str, Any]:
    """The fields that the result of a `refit` has in addition to those of a search. rivals: how the
    new model compares with them.
    """
    return {
        "test_comparisons": (*((of.comparison,) if of.comparison is not None else ()), *rivals),
        "configs_left": False,
        "refit_of": of,
    }


def mattered(state: RunState, spec: SearchSpec, seed: int) -> dict[str, Any]:
    """The fields that say which parameters mattered: what trials reached for each value of the one
    that decides which others exist, and how much each of the others mattered for the winner's.

    seed: the run's.
    """
    trials = [trial for trial in state.in_order() if not trial.leaky]
    found: dict[str, Any] = {}
    if (param := spec.deciding()) is not None and (best := _best(state)) is not None:
        value = best.params[param.name]
        found["deciding"] = Deciding(
            parameter=param.name,
            winner=str(value),
            values={
                str(one): OfValue(trials=known.trials, best=known.best, median=known.median)
                for one, known in by_value(param.name, trials).items()
            },
        )
        spec = spec.of_value(param, value)
        trials = [trial for trial in trials if trial.params[param.name] == value]
    shares = importance(spec, trials, np.random.default_rng([seed, 10]))
    return {
        **found,
        "importance": shares.shares,
        "importance_ci": dict(shares.intervals),
    }


def _best(state: RunState) -> TrialRecord | None:
    """The winner, or the best trial so far."""
    race = decided(state)
    return (state.trials.get(race.winner) if race else None) or leader(state.in_order())


def told(state: RunState, name: str, spec: SearchSpec, settings: Settings) -> RunResult:
    """What a journal says of its run, a search or a `refit`; without how long it took, which
    parameters mattered, and what is left to try. name: the run's.
    """
    counts = state.counts()
    race = decided(state)
    test, blend = tested(state) or Tested(), blended(state)
    best = _best(state)
    excludes = sorted({t.config.get("negatives_exclude", "train") for t in state.trials.values()})
    return RunResult(
        version=VERSION,
        status=state.status,
        run=name,
        purpose=spec.purpose,
        data=state.run.dataset,
        metric=spec.metric,
        valid=best.value if best else None,
        test=(test.values or {}).get(spec.metric),
        test_ci=test.ci,
        test_metrics=test.values,
        test_users=test.users,
        test_comparisons=test.comparisons,
        groups=_groups(blend, test),
        split=state.run.split,
        split_order=spec.split.order,
        split_digest=state.run.split_digest,
        newcomers=tuple(map(Newcomers.model_validate, state.run.newcomers or ())),
        negatives_exclude=excludes[0] if len(excludes) == 1 else tuple(excludes),
        leaky=state.leaky,
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
        blend=_blend(state, blend, test, spec.metric),
        handed=handed_over(state),
        split_orders=refit.orders if (refit := refitted(state)) else None,
        split_orders_skipped=refit.orders_skipped if refit else None,
        seed=settings.seed,
    )


def _groups(blend: Blended | None, test: Tested) -> Groups | None:
    """The groups on the test of what is handed over. A blend that was tested may have failed
    since; earlier versions kept no groups of the winner then.
    """
    lost = blend is not None and blend.failed is not None and test.blend is not None
    return test.winner_groups if lost else test.groups


def _blend(state: RunState, found: Blended | None, test: Tested, metric: str) -> BlendResult | None:
    """The blend with what it reached, where there is one."""
    if found is None:
        return None
    known = found.model_dump(include=set(BlendResult.model_fields))
    known["members"] = tuple(
        member.model_copy(update={"label": state.trials[member.id].label})
        for member in found.members
    )
    if test.blend is not None:
        known |= {
            "test": test.blend.values.get(metric),
            "test_ci": test.blend.ci,
            "test_metrics": test.blend.values,
            "test_comparisons": test.blend.comparisons,
        }
    return BlendResult(**known)


def test_reads(folder: RunFolder) -> int:
    """How often the test items were read: more than once where a run was extended."""
    events = (event for event, _ in read_events(folder.path / JOURNAL))
    return sum(
        isinstance(event, StageMarked)
        and (event.name, event.state) == ("test", StageState.DONE)
        and bool((event.data or {}).get("values"))
        for event in events
    )


def _busy_fraction(run: Stages) -> float | None:
    """Time in training and evaluation / (wall time x cores); c threads count c times."""
    share = run.state.busy_fraction(run.resources.cores)
    return None if share is None else share * run.resources.cpus_per_trial
