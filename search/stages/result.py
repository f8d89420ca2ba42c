"""result.json: the summary of a run, also of one that did not come to its end."""

from __future__ import annotations

from typing import Any

from search.record.events import StageMarked, StageState, State, Status
from search.record.folder import JOURNAL
from search.record.journal import read_events
from search.record.planned import configs_left, distinct
from search.stages.context import Stages
from search.tune.study import importance


def result(run: Stages, status: Status) -> dict[str, Any]:
    """What result.json says; also for a run that did not come to its end."""
    state, spec = run.state, run.spec
    counts = state.counts()
    decided = state.stages["race"].data if state.stage_done("race") else {}
    tested = state.stages["test"].data if state.stage_done("test") else {}
    best = state.trials.get(decided.get("winner", "")) or state.best()
    excludes = sorted({t.config.get("negatives_exclude", "train") for t in state.trials.values()})
    return {
        "status": status,
        "run": run.folder.name,
        "purpose": spec.purpose,
        "data": run.dataset.interactions.name,
        "metric": spec.metric,
        "valid": best.value if best else None,
        "test": tested.get("values", {}).get(spec.metric),
        "test_ci": tested.get("ci"),
        "test_metrics": tested.get("values"),
        "test_users": tested.get("users"),
        "test_comparisons": tested.get("comparisons", []),
        "importance": importance(run.study()) if status == Status.DONE else {},
        "test_reads": test_reads(run),
        "split": run.split.name,
        "split_digest": run.split.digest,
        "negatives_exclude": excludes[0] if len(excludes) == 1 else excludes,
        "baselines": {
            name: {
                key: value[spec.metric] if isinstance(value, dict) else value
                for key, value in row.items()
            }
            for name, row in tested.get("baselines", {}).items()
        },
        "best_trial": best.id if best else None,
        "best_config": best.config if best else None,
        "best_params": best.params if best else None,
        "best_epoch": decided.get("epochs") or (best.best_epoch if best else None),
        "trials": {
            "completed": counts[State.COMPLETE],
            "pruned": counts[State.PRUNED],
            "failed": counts[State.FAILED],
        },
        "configs": distinct(t.config for t in state.trials.values()),
        "configs_left": configs_left(spec, state),
        "wall_s": state.wall_s(),
        "busy_fraction": _busy_fraction(run),
        "race": {
            "replicates": decided.get("replicates", 0),
            "finalists": decided.get("finalists", []),
            "comparisons": decided.get("comparisons", []),
            "winner_is_default": decided.get("is_default", False),
        },
        "seed": run.settings.seed,
    }


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
