"""How MLflow's page of runs opens: saved views, which are tags of the experiment.

A view holds the filter, the order, the columns and the charts, in the form of MLflow 3.17's own
page (`mlflow.sharedViewState.KEY`: a name, two times, and the page's state as JSON). Views are in
the page's menu, and `ui` prints the address that opens one.

What that page does with them (according to its scripts): it loads the first 100 runs in the order,
and more on request; a chart is titled by what it shows, whatever `displayName` says, a section of
charts as the view says. Runs are nested under their parents only without a filter and in the order
of time, and a page of 100 runs is then the trials of one search.
"""

from __future__ import annotations

import base64
import json
import uuid
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.record.state import RunState, TrialRecord
from search.tracking import wanted

KIND_TAG, MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
VIEW_TAG = "mlflow.sharedViewState."
SEARCHES = "searches"
MAX_COLUMNS, MAX_AXES = 8, 6
LOADED = 100  # runs that the page loads at first
MAX_PLAIN = 5000  # characters of a tag that every server accepts; longer ones are compressed
_NAME, _BEGAN = "attributes.`Run Name`", "runDateAndNestInfo"  # ids of columns always there
_TRAINING = "workflowType=machine_learning"  # not MLflow's mode for language models


@dataclass(frozen=True)
class Page:
    """Where a search is in MLflow: ids of its experiment and of its run."""

    experiment_id: str
    run_id: str

    def trials(self, state: RunState) -> str:
        """The page of all its trials, as a path on the server."""
        return view_address(self.experiment_id, trials_key(state))

    def artifact(self, name: str) -> str:
        """The page of one of its files."""
        return f"#/experiments/{self.experiment_id}/runs/{self.run_id}/artifacts/{name}"


def view_address(experiment_id: str, key: str) -> str:
    """The page of runs opened with a view, as a path on the server."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={key}&{_TRAINING}"


def experiment_tags(state: RunState, run_id: str) -> dict[str, str]:
    """The tags that the experiment should have for a run: its kind, and the views of all searches
    and of the run's trials.
    """
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
    """A saved view as the value of its tag; a long one is compressed as MLflow does."""
    inner = json.dumps(page, separators=(",", ":"))
    if (plain := len(_envelope(name, time, inner))) > MAX_PLAIN:
        packed = base64.b64encode(zlib.compress(inner.encode(), 9)).decode()
        inner = f"deflate;{packed}"
        assert len(inner) < plain
    return _envelope(name, time, inner)


def _envelope(name: str, time: int, inner: str) -> str:
    view = {"name": name, "createdAt": time, "updatedAt": time, "state": inner}
    return json.dumps(view, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class _Section:
    """Charts under a heading; a view can choose the heading, but not the titles of charts."""

    title: str
    charts: Sequence[dict[str, Any]]


def _page(
    search: str, order: str, columns: Mapping[str, int], sections: Sequence[_Section], of: str
) -> dict[str, Any]:
    """The page's state. columns: widths by id, in pixels. of: a text from which ids are derived."""
    known = [(one, _uuid(f"{of}/{one.title}")) for one in sections]
    return {
        "searchFilter": search,
        "orderByKey": order,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [name for name in columns if name not in (_NAME, _BEGAN)],
        "columnOrder": list(columns),
        "columnWidths": dict(columns),
        "runsHiddenMode": "SHOW_ALL",
        "runListHidden": True,  # beside charts, since a phone has no room for both
        "compareRunSections": [
            {"uuid": key, "name": one.title, "display": True, "isReordered": False, "columns": 1}
            for one, key in known
        ],
        "isAccordionReordered": True,  # the sections in this order, not by their names
        "compareRunCharts": [
            {"uuid": _uuid(f"{key}/{number}"), "metricSectionId": key, **chart}
            for one, key in known
            for number, chart in enumerate(one.charts)
        ],
    }


def _searches() -> dict[str, Any]:
    """The page of all searches, the latest first; the first columns fit into 1280 pixels."""
    columns = {
        _NAME: 285,
        _BEGAN: 132,
        _metric(wanted.HANDED_TEST): 95,
        _metric("valid"): 70,
        _tag("winner"): 240,
        _metric("wall_s"): 65,
        _tag("metric"): 65,
        _tag("split"): 200,
        "attributes.`Dataset`": 300,
        _metric("test"): 75,  # of the winner, also where a blend is handed over
        _metric("blend.test"): 95,
    }
    search = f"tags.`{wanted.ROLE_TAG}` = 'search'"
    charts = [_chart("BAR", metricKey=wanted.HANDED_TEST)]
    return _page(search, "attributes.start_time", columns, [_Section("test", charts)], "searches")


def _trials(state: RunState, run_id: str) -> dict[str, Any]:
    """The page of a run's trials: sorted by the best value of the metric, with the parameters that
    differ, the learning curves of all in one chart, and parallel coordinates.
    """
    metric = state.run.metric or "metric"
    common, others = searched_params(state)
    params = [wanted.clean(name) for name in [*common, *others]]
    columns = {
        _NAME: 300,
        _BEGAN: 130,
        **{_metric(name): 105 for name in ("best_value", "best_epoch")},
        _tag("state"): 100,
        _metric("busy_seconds"): 105,
        **{f"params.`{name}`": 110 for name in params[:MAX_COLUMNS]},
    }
    began = sum(trial.attempt > 0 for trial in state.trials.values())
    more = f" (best {LOADED} of {began:,})" if began > LOADED else ""
    key = wanted.clean(metric)
    curves = _chart(
        "LINE",
        metricKey=key,
        selectedMetricKeys=[key],
        xAxisKey="step",
        useGlobalXaxisKey=False,
        lineSmoothness=0,
        useGlobalLineSmoothing=False,
    )
    sections = [_Section(f"{metric} by epoch{more}", [curves])]
    for title, axes in _parallel(state):
        chart = _chart(
            "PARALLEL",
            selectedParams=[wanted.clean(name) for name in axes],
            selectedMetrics=["best_value"],
            showAllRuns=True,
        )
        sections.append(_Section(f"{title} and best {metric}{more}", [chart]))
    search = f"tags.`{wanted.PARENT_TAG}` = '{run_id}'"
    return _page(search, _metric("best_value"), columns, sections, state.uid)


def _parallel(state: RunState) -> list[tuple[str, list[str]]]:
    """Charts of parallel coordinates: title and parameters of each. A chart shows the runs that
    have all of these. Where a parameter decides which others exist, there is a chart for each of
    its values, with that parameter as the first axis, since runs with other values may be in it.
    """
    common, _ = searched_params(state)
    charts = [("parameters", common[:MAX_AXES])] if common else []
    decides = state.run.deciding or ""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in (trial for trial in state.in_order() if decides in trial.params):
        groups.setdefault(str(trial.params[decides]), []).append(trial)
    for value, group in groups.items():
        own = [name for name in differing(group) if name in group[0].params]
        own.sort(key=lambda name: name in common)  # parameters that only some have come first
        if any(name not in common for name in own):
            charts.append((f"{decides} {value}", [decides, *own[:MAX_AXES]]))
    return charts


def searched_params(state: RunState) -> tuple[list[str], list[str]]:
    """The parameters in which trials differ: those that all trials have, and those that only some
    have, the most frequent first.
    """
    trials = state.in_order()
    known = Counter(name for trial in trials for name in trial.params)
    differ = differing(trials)
    common = [name for name in differ if known[name] == len(trials)]
    others = sorted((name for name in differ if name not in common), key=lambda n: -known[n])
    return common, others


def differing(trials: Sequence[TrialRecord]) -> list[str]:
    """Parameters with more than one value among trials, in the order of the space."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(json.dumps(value, default=str))
    return [name for name, found in values.items() if len(found) > 1]


def _chart(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "isGenerated": False, "deleted": False, **more}


def _uuid(name: str) -> str:
    """An id derived from the name: the same name gives the same id."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"recsearch/{name}"))


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _tag(name: str) -> str:
    return f"tags.`{name}`"
