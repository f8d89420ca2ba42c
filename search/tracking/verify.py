"""Comparing a whole run with what MLflow has of it."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from search.record.events import Status
from search.record.folder import JOURNAL
from search.record.handed import disagreement, file_digest, model_digest
from search.record.journal import read_state
from search.record.state import RunState, TrialRecord
from search.tracking import wanted
from search.tracking.champion import crown
from search.tracking.description import NOTE_TAG, description, trial_page
from search.tracking.memory import known_uri
from search.tracking.store import Store, open_store
from search.tracking.succession import ALIAS
from search.tracking.views import Page, experiment_tags
from search.tracking.where import EXPERIMENT, check_tracking_uri


def differences(
    run_dir: Path, uri: str, experiment: str, compared: Callable[[int, int], None]
) -> list[str]:
    """One line per difference between the journal (and files) of a run and the store, in the order
    of the journal. compared: told after each trial how many of how many have been looked at.
    """
    state = read_state(run_dir / JOURNAL)
    store = open_store(uri, experiment)
    runs = store.runs_of(state.uid)
    parents = runs.pop(None, [])
    if len(parents) != 1:
        return [f"the search has {len(parents)} runs, expected 1"]
    found = list(_of_search(run_dir, state, store, parents[0]))
    started = {t.id: t for t in state.in_order() if t.attempt > 0}
    found += [f"{name}: a run without a trial" for name in runs if name not in started]
    parent = parents[0].info.run_id

    def of_trial(trial: TrialRecord) -> list[str]:
        if len(its := runs.get(trial.id, [])) != 1:
            return [f"{trial.id}: {len(its)} runs, expected 1"]
        lines = _of_trial(state, trial, store, its[0], parent)
        return [f"{trial.id}: {line}" for line in lines]

    # A server is asked for each metric of each trial: one request after the other takes minutes.
    pool = ThreadPoolExecutor(store.threads)
    try:
        for number, lines in enumerate(pool.map(of_trial, started.values()), 1):
            found += lines
            compared(number, len(started))
    finally:
        pool.shutdown(cancel_futures=True)  # where one fails, no other is asked for
    return found


def _of_trial(
    state: RunState, trial: TrialRecord, store: Store, run: Any, parent: str
) -> Iterator[str]:
    yield from _equal("status", run.info.status, wanted.CHILD_STATUS[trial.state])
    yield from _equal("name", run.info.run_name, trial.title)
    yield from _equal("params", run.data.params, wanted.trial_params(trial))
    yield from _equal("start", run.info.start_time, wanted.ms(trial.started))
    tags = trial_page(trial, state) | {wanted.PARENT_TAG: parent}
    if trial.finished:
        yield from _tags(run, tags)
        yield from _equal("end", run.info.end_time, wanted.ms(trial.ended))
    if trial.rows or trial.finished:
        yield from _data(run, wanted.trial_data(state))
    points = wanted.trial_points(trial)
    if trial.finished:
        points += wanted.trial_results(trial)
    yield from _history(store, run, points)
    if trial.error and trial.finished:
        yield from _same_text(store, run, "traceback.txt", trial.error)


def _same_text(store: Store, run: Any, name: str, expected: str) -> Iterator[str]:
    """A line if a text among a run's files is not as expected."""
    with tempfile.TemporaryDirectory() as temp:
        try:
            path = store.client.download_artifacts(run.info.run_id, name, temp)
        except Exception as error:
            yield f"{name} is not there ({type(error).__name__})"
        else:
            yield from _equal(name, Path(path).read_text("utf-8"), expected)


def _of_search(run_dir: Path, state: RunState, store: Store, run: Any) -> Iterator[str]:
    ended = state.status != Status.RUNNING
    result = wanted.known_result(run_dir) if ended else None
    yield from _equal("search: status", run.info.status, wanted.PARENT_STATUS[state.status])
    yield from _equal("search: params", run.data.params, wanted.run_params(state))
    yield from _equal("search: name", run.info.run_name, wanted.run_name(state))
    page = Page(store.experiment_id, run.info.run_id)
    yield from _tags(
        run, wanted.run_tags(state, result) | {NOTE_TAG: description(state, result, page)}
    )
    there = store.client.get_experiment(store.experiment_id).tags
    for name, value in experiment_tags(state, run.info.run_id).items():
        yield from _equal(f"experiment: tag {name}", there.get(name), value)
    for line in _data(run, wanted.data_parts(state)):
        yield f"search: {line}"
    points = wanted.run_points(state)
    for name in dict.fromkeys(p.key for p in points):
        yield from _history(store, run, [p for p in points if p.key == name], name)
    if ended:
        for point in wanted.run_results(state, result):
            yield from _equal(f"search: {point.key}", run.data.metrics.get(point.key), point.value)
        for point in wanted.withdrawn(run.data.metrics, state, result):
            yield f"search: {point.key} is of an earlier result"
    files = wanted.artifacts(run_dir, state)
    for name, path in files.items():
        with tempfile.TemporaryDirectory() as temp:
            try:
                there = store.client.download_artifacts(run.info.run_id, name, temp)
            except Exception as error:
                yield f"search: {name} is not there ({type(error).__name__})"
            else:
                digest = file_digest(Path(there))
                yield from _equal(f"search: {name}", digest, file_digest(path))
    for name, content in wanted.tables(state, result).items():
        yield from _same_text(store, run, name, content)
    if state.status == Status.DONE and (strange := disagreement(run_dir, state)) is not None:
        yield f"model: {strange}"
    if state.status == Status.DONE and (weights := model_digest(run_dir / "model")) is not None:
        yield from _model(run_dir, state, store, run, weights)


def _data(run: Any, parts: list[wanted.Data]) -> Iterator[str]:
    """A line for each data set that a run lacks."""
    inputs = {
        (one.dataset.name, one.dataset.digest, one.dataset.profile or "", tag.value)
        for one in run.inputs.dataset_inputs
        for tag in one.tags
    }
    for part in parts:
        if (part.name, part.digest, part.profile, part.context) not in inputs:
            yield f"no data set {part.name}"


def _model(run_dir: Path, state: RunState, store: Store, run: Any, digest: str) -> Iterator[str]:
    versions = [
        v
        for v in store.client.search_model_versions(f"run_id = '{run.info.run_id}'")
        if v.tags.get("weights") == digest
    ]
    yield from _equal("model versions", [v.name for v in versions], [wanted.model_name(state)])
    aliases = store.client.get_registered_model(wanted.model_name(state)).aliases
    by_leak = wanted.won_by_leak(state, wanted.known_result(run_dir))
    if ALIAS not in aliases and not by_leak:
        yield f"model: nothing has the alias {ALIAS}"


def _history(
    store: Store,
    run: Any,
    points: list[wanted.Point],
    only: str | None = None,
) -> Iterator[str]:
    """Lines unless a run has every step of every metric, and nothing else.

    points: the expected values. only: check no other metric than this.
    """
    expected: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
    for point in points:
        expected[point.key].append((point.step, point.time, point.value))
    names = [only] if only else sorted(expected.keys() | run.data.metrics.keys())
    for name in names:
        got = [
            (m.step, m.timestamp, m.value)
            for m in store.client.get_metric_history(run.info.run_id, name)
        ]
        missing = len(set(expected[name]) - set(got))
        if missing or sorted(got) != sorted(expected[name]):
            extra = len(got) - len(set(expected[name]) & set(got))
            yield f"metric {name}: {missing} of {len(expected[name])} steps missing, {extra} extra"


def _tags(run: Any, tags: dict[str, str]) -> Iterator[str]:
    for name, value in tags.items():
        yield from _equal(f"tag {name}", run.data.tags.get(name), value)


def _equal(what: str, got: object, expected: object) -> Iterator[str]:
    if got != expected:
        yield f"{what} is {str(got)[:200]!r}, expected {str(expected)[:200]!r}"


def verify_delivery(
    run_dir: Path | str,
    uri: str | None = None,
    compared: Callable[[int, int], None] = lambda *_: None,
) -> list[str]:
    """Compare a whole run with what MLflow has; one line per difference, none if all is there.

    uri: the store; None: the one that the run went to. Imports mlflow into this process: for
    `sync --verify` and tests. compared: as in `differences`.
    """
    run_dir = Path(run_dir).resolve()
    uri = check_tracking_uri(uri or known_uri(run_dir))

    return differences(run_dir, uri, EXPERIMENT, compared)


def make_champion(run_dir: Path | str, uri: str | None = None) -> str:
    """Make the model of a run the champion, as `champion.crown` does; also imports mlflow."""
    run_dir = Path(run_dir).resolve()
    return crown(run_dir, check_tracking_uri(uri or known_uri(run_dir)), EXPERIMENT)
