"""How MLflow's page of runs is opened: saved views, which are tags of the experiment.

A view holds what is searched for, the order, the columns and the charts, in the form of MLflow
3.17's own page (`mlflow.sharedViewState.KEY`: a name, two times, and the page's state as JSON).
They stand in its menu of views, and `ui` prints the address that opens one.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.record.state import RunState
from search.tracking import wanted

KIND_TAG, MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
VIEW_TAG = "mlflow.sharedViewState."
SEARCHES = "searches"
MAX_COLUMNS, MAX_AXES = 8, 6
_NAME, _BEGAN = "attributes.`Run Name`", "runDateAndNestInfo"  # ids of columns always there
_TRAINING = "workflowType=machine_learning"  # not MLflow's mode for language models


@dataclass(frozen=True)
class Page:
    """Where a search is in MLflow: ids of its experiment and of its run."""

    experiment_id: str
    run_id: str

    def trials(self, state: RunState) -> str:
        """The page of all its trials, from the root of the server."""
        return view_address(self.experiment_id, trials_key(state))

    def artifact(self, name: str) -> str:
        """The page of one of its files."""
        return f"#/experiments/{self.experiment_id}/runs/{self.run_id}/artifacts/{name}"


def view_address(experiment_id: str, key: str) -> str:
    """The page of runs with a view, from the root of the server."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={key}&{_TRAINING}"


def experiment_tags(state: RunState, run_id: str) -> dict[str, str]:
    """What the experiment should have for a run: its kind, and views of all searches and of the
    run's trials."""
    return {
        KIND_TAG: MODEL_TRAINING,
        VIEW_TAG + SEARCHES: _view("all searches", 0, _searches()),
        VIEW_TAG + trials_key(state): _view(
            f"trials of {wanted.run_name(state)}", _began(state), _trials(state, run_id)
        ),
    }


def trials_key(state: RunState) -> str:
    """The key of the view of a run's trials."""
    return f"trials-{state.uid[:12]}"


def _began(state: RunState) -> int:
    return wanted.ms(state.sessions[0].started if state.sessions else None)


def _view(name: str, time: int, page: dict[str, Any]) -> str:
    """A saved view as the value of its tag (5,000 letters at most)."""
    inner = json.dumps(page, separators=(",", ":"))
    view = {"name": name, "createdAt": time, "updatedAt": time, "state": inner}
    return json.dumps(view, separators=(",", ":"), ensure_ascii=False)


def _page(
    search: str, order: str, columns: Sequence[str], charts: Sequence[dict[str, Any]], section: str
) -> dict[str, Any]:
    return {
        "searchFilter": search,
        "orderByKey": order,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(columns),
        "columnOrder": [_NAME, _BEGAN, *columns],
        "columnWidths": {_NAME: 300},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [
            {"uuid": section, "name": "Search", "display": True, "isReordered": False}
        ],
        "compareRunCharts": list(charts),
    }


def _searches() -> dict[str, Any]:
    columns = [
        *(_metric(name) for name in ("test", "valid", "wall_s")),
        *(_tag(name) for name in ("winner", "metric", "split")),
        "attributes.`Dataset`",
    ]
    search = f"tags.`{wanted.ROLE_TAG}` = 'search'"
    section = _uuid("searches")
    charts = [_chart("BAR", "searches", section, metricKey="test", displayName="test")]
    return _page(search, "attributes.start_time", columns, charts, section)


def _trials(state: RunState, run_id: str) -> dict[str, Any]:
    """Sorted by the tuned metric's best value, with the parameters that differ; learning curves
    of all on one axis, and parallel coordinates."""
    metric = state.run.metric or "metric"
    common, others = searched_params(state)
    params = [wanted.clean(name) for name in [*common, *others]]
    axes = [wanted.clean(name) for name in common[:MAX_AXES]]
    columns = [
        *(_metric(name) for name in ("best_value", "best_epoch", "busy_seconds")),
        *(f"params.`{name}`" for name in params[:MAX_COLUMNS]),
    ]
    section = _uuid(state.uid)
    key = wanted.clean(metric)
    charts = [
        _chart(
            "LINE",
            state.uid,
            section,
            metricKey=key,
            selectedMetricKeys=[key],
            displayName=f"{metric} by epoch",
            xAxisKey="step",
            useGlobalXaxisKey=False,
            lineSmoothness=0,
            useGlobalLineSmoothing=False,
            runsCountToCompare=100,
        ),
        _chart(
            "PARALLEL",
            state.uid,
            section,
            selectedParams=axes,
            selectedMetrics=["best_value"],
            showAllRuns=True,
            displayName=f"parameters and best {metric}",
        ),
    ]
    search = f"tags.`{wanted.PARENT_TAG}` = '{run_id}'"
    return _page(search, _metric("best_value"), columns, charts, section)


def searched_params(state: RunState) -> tuple[list[str], list[str]]:
    """Parameters in which trials differ: those that all have, and those of some, common first."""
    trials = state.in_order()
    values: dict[str, set[str]] = {}
    known: Counter[str] = Counter()
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(json.dumps(value, default=str))
            known[name] += 1
    differ = [name for name, found in values.items() if len(found) > 1]
    common = [name for name in differ if known[name] == len(trials)]
    others = sorted((name for name in differ if name not in common), key=lambda n: -known[n])
    return common, others


def _chart(kind: str, of: str, section: str, **more: Any) -> dict[str, Any]:
    name = more["displayName"]
    return {
        "type": kind,
        "uuid": _uuid(f"{of}/{kind}/{name}"),
        "metricSectionId": section,
        "isGenerated": False,
        "deleted": False,
        **more,
    }


def _uuid(name: str) -> str:
    """The same for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"recsearch/{name}"))


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _tag(name: str) -> str:
    return f"tags.`{name}`"
