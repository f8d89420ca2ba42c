"""Bringing a run into MLflow: delivers the difference between its journal and what was delivered.

What was delivered is noted in the run's delivery.json. It is only a memory: if it is lost or out of
date (the courier was killed), the runs are found again by their tags, and values are sent again
with the timestamps they had, which stores nothing twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from search.record.events import Status
from search.record.folder import JOURNAL
from search.record.handed import digest, file_digest
from search.record.journal import Follower
from search.record.state import RunState, TrialRecord
from search.tracking import wanted
from search.tracking.description import NOTE_TAG, description, trial_page
from search.tracking.memory import Child, Delivered, is_whole
from search.tracking.store import Store, is_final, is_missing, short
from search.tracking.views import Page, experiment_tags

MAX_METRICS, MAX_NAMES, MAX_ENTITIES = 1000, 100, 1000
CONTEXT_TAG = "mlflow.data.context"
_SAVE_EVERY_S, _SAVE_SHARE = 0.5, 0.05  # at most this share of the time: the file grows with trials


class EndedError(Exception):
    """A pass was broken off; the next one goes on from there."""


class RunDelivery:
    """Brings a run into a store, pass after pass."""

    def __init__(
        self,
        run_dir: Path,
        store: Store,
        experiment: str,
        ends: Callable[[], bool] = lambda: False,
    ) -> None:
        """ends: asked between two steps, whether to break the pass off with EndedError."""
        self.run_dir, self.store, self.client = run_dir, store, store.client
        self._ends = ends
        self.follower = Follower(run_dir / JOURNAL)
        self.done = Delivered.load(run_dir, store.uri, experiment)
        self.done.problems = {}  # a new process tries all of them again
        self._adopt = True
        self._looked = ""  # the run's status when the store's runs were last looked up
        self._look_again = True  # whether to check that the files that were sent are still there
        self._failed = False
        self._save_from = 0.0
        self._lock = threading.Lock()

    @property
    def state(self) -> RunState:
        """What the journal said when it was last read."""
        return self.follower.state

    def run_pass(self) -> bool:
        """Deliver everything that the journal says now; True if MLflow then has it all.

        False where the store refused something for good (`done.problems`). Raises whatever else the
        store raises; what was delivered before that remains delivered.
        """
        state = self.follower.update()
        if self._looked == Status.RUNNING != state.status:
            self._adopt = True  # once more at the end: people delete things while a search runs
        if not state.uid or self._nothing_new(state):
            return True
        try:
            self._deliver(state)
        except Exception as error:
            # A request that failed may still have been carried out: look it up before creating it.
            self._adopt = self._failed = True
            self.done.error = short(error)
            if is_missing(error):
                self.done.run_id, self.done.children = "", {}
            raise
        finally:
            there = self.done.offset == state.offset and not self.done.lacking(state)
            self.done.complete = self.done.error is None and there
            self._save(force=True)
        return self.done.complete

    def _nothing_new(self, state: RunState) -> bool:
        done = self.done
        return (
            done.complete
            and not self._adopt
            and done.offset == state.offset
            and not self._changed_artifacts(state)
        )

    def _deliver(self, state: RunState) -> None:
        done = self.done
        if done.uid != state.uid or done.experiment_id != self.store.experiment_id:
            fresh = Delivered(done.uri, done.experiment, state.uid, self.store.experiment_id)
            self.done = done = fresh
            self._adopt = True
        if self._adopt:
            self._find_again(state)
            self._adopt, self._looked = False, state.status
        self._deliver_trials(state)
        self._deliver_parent(state)
        self._deliver_around(state)
        # Files come last: an artifact store that is out of reach must not hold values back.
        if self._look_again:
            self._forget_lost_files()
        self._deliver_tracebacks(state)
        self._go_on()
        self._deliver_artifacts(state)
        self._deliver_tables(state)
        self._go_on()
        if state.status == Status.DONE:
            from search.tracking.champion import deliver_model, is_registered

            if self._look_again and not is_registered(self.client, done):
                done.model = None
            deliver_model(self.run_dir, state, self.store, done)
        self._look_again = False
        if self._failed:
            self._find_again(state)  # one may have been created by a request that had timed out
            self._failed = False
        done.error = next(iter(done.problems.values()), None)
        done.offset = state.offset

    # --- finding, creating -----------------------------------------------------------------

    def _find_again(self, state: RunState) -> None:
        """Match the store's runs of this search with the remembered ones, one run per trial."""
        done, found = self.done, self.store.runs_of(state.uid)
        parent = self._keep_one(found.pop(None, []), done.run_id)
        if parent is None or parent.info.run_id != done.run_id:
            done.run_id = "" if parent is None else parent.info.run_id
            done.parent_sent, done.around_sent, done.artifacts, done.model = "", "", {}, None
        elif not self._parent_as_sent(parent, state):
            done.parent_sent = ""
        if not done.run_id:
            self._create_parent(state)
        children = {}
        for name, runs in found.items():
            if name is None:
                continue
            known = done.children.get(name)
            run = self._keep_one(runs, known.run_id if known else "")
            if run.data.tags.get(wanted.PARENT_TAG) != done.run_id:
                # Its parent may have been deleted in the UI; it is still the run of this trial.
                self.client.set_tag(run.info.run_id, wanted.PARENT_TAG, done.run_id)
            if known is None or run.info.run_id != known.run_id:
                known = Child(run.info.run_id, int(run.data.tags.get(wanted.ATTEMPT_TAG, 0)))
            elif not _as_remembered(known, run, state.trials.get(name)):
                known = Child(known.run_id, known.attempt)
            elif not _has_page(run, state.trials.get(name), state):
                known.rows, known.ended = 0, False
            children[name] = known
        done.children = children
        self._forget_lost_tags()
        self._look_again = True

    def _forget_lost_tags(self) -> None:
        """Forget tags that the store no longer has: the experiment may be another one, or someone
        has removed its views.
        """
        if self.done.around_sent:
            tags, _ = json.loads(self.done.around_sent)
            there = self.client.get_experiment(self.store.experiment_id).tags
            if not tags.keys() <= there.keys():
                self.done.around_sent = ""

    def _parent_as_sent(self, run: Any, state: RunState) -> bool:
        """Whether the search's run has the status and the latest values that were sent, and no
        value of an earlier result.
        """
        if not self.done.parent_sent:
            return True
        if self._withdrawn(state, run):
            return False
        _, points, status, *_ = json.loads(self.done.parent_sent)
        latest: dict[str, wanted.Point] = {}
        for point in (wanted.Point(*p) for p in points):
            known = latest.get(point.key)
            if known is None or (known.step, known.time) < (point.step, point.time):
                latest[point.key] = point
        values = {p.key: p.value for p in latest.values()}
        return bool(run.info.status == status) and values.items() <= run.data.metrics.items()

    def _withdrawn(self, state: RunState, run: Any | None = None) -> list[wanted.Point]:
        """Values that withdraw numbers of an earlier result, once the search has a new one. run:
        the search's run in the store; None: ask for it.
        """
        result = None if state.status == Status.RUNNING else wanted.known_result(self.run_dir)
        if result is None:
            return []
        run = run or self.client.get_run(self.done.run_id)
        return wanted.withdrawn(run.data.metrics, state, result)

    def _keep_one(self, runs: list[Any], known: str) -> Any:
        """Of several runs for the same thing, keep the one with the id `known`, or else the first,
        and delete the others.
        """
        keep = next((r for r in runs if r.info.run_id == known), runs[0] if runs else None)
        for run in runs:
            if run is not keep:
                self.client.delete_run(run.info.run_id)
        return keep

    def _create_parent(self, state: RunState) -> None:
        run = self.client.create_run(
            self.store.experiment_id,
            start_time=wanted.ms(state.sessions[0].started if state.sessions else None),
            tags=wanted.run_tags(state, None),
            run_name=wanted.run_name(state),
        )
        self.done.run_id = run.info.run_id

    # --- trials ----------------------------------------------------------------------------

    def _news(self, trial: TrialRecord) -> bool:
        known = self.done.children.get(trial.id)
        return trial.id not in self.done.problems and not is_whole(known, trial)

    def _deliver_trials(self, state: RunState) -> None:
        trials = [t for t in state.in_order() if self._news(t)]
        if self.store.threads == 1 or len(trials) < 2:
            for trial in trials:
                self._deliver_or_note(trial, state)
            return
        if not any(child.rows or child.ended for child in self.done.children.values()):
            # The first that logs the data sets makes them. Where several do at once, the server
            # finds none, and refuses all but one that write them then.
            first = next((n for n, one in enumerate(trials) if one.rows or one.finished), 0)
            self._deliver_or_note(trials.pop(first), state)
        broken = threading.Event()

        def deliver(trial: TrialRecord) -> None:
            if broken.is_set():
                return  # the store doesn't answer: do not ask it again for every trial
            try:
                self._deliver_or_note(trial, state)
            except BaseException:
                broken.set()
                raise

        with ThreadPoolExecutor(self.store.threads) as pool:
            for future in [pool.submit(deliver, trial) for trial in trials]:
                future.result()

    def _go_on(self) -> None:
        if self._ends():
            raise EndedError("not all was sent: the courier had to end")

    def _deliver_or_note(self, trial: TrialRecord, state: RunState) -> None:
        """Deliver one trial; a trial that the store refuses for good does not hold up others."""
        self._go_on()
        try:
            self._deliver_trial(trial, state)
        except Exception as error:
            if not is_final(error):
                raise
            self.done.problems[trial.id] = f"{trial.id}: {short(error)}"
        self._save()

    def _deliver_trial(self, trial: TrialRecord, state: RunState) -> None:
        child = self.done.children.get(trial.id)
        tags, name = trial_page(trial, state), trial.title
        if child is not None and child.attempt != trial.attempt:
            # The trial ran again: MLflow can't delete values, so its run is replaced by a new one.
            self.client.delete_run(child.run_id)
            with self._lock:
                del self.done.children[trial.id]
            child = None
        if child is None:
            run = self.client.create_run(
                self.store.experiment_id,
                start_time=wanted.ms(trial.started),
                tags=tags | {wanted.PARENT_TAG: self.done.run_id},
                run_name=name,
            )
            child = Child(run.info.run_id, trial.attempt, name=name)
            with self._lock:
                self.done.children[trial.id] = child
        if (trial.rows or trial.finished) and not child.rows and not child.ended:
            self._log_data(child.run_id, wanted.trial_data(state))
        if child.name != name:
            self.client.update_run(child.run_id, name=name)
            child.name = name
        rows, ended = len(trial.rows), trial.finished
        points = wanted.trial_points(trial, child.rows)
        # All parameters are sent with the first values, in one batch.
        params = wanted.trial_params(trial) if child.rows == 0 else {}
        if ended:
            points += wanted.trial_results(trial)
        self._log(child.run_id, points, params, tags if ended else {})
        child.rows = rows
        if ended:
            status, end = wanted.CHILD_STATUS[trial.state], wanted.ms(trial.ended)
            self.client.set_terminated(child.run_id, status, end)
        child.ended = ended

    # --- the search ------------------------------------------------------------------------

    def _deliver_parent(self, state: RunState) -> None:
        ended = state.status != Status.RUNNING
        result = wanted.known_result(self.run_dir) if ended else None
        page = Page(self.store.experiment_id, self.done.run_id)
        tags = wanted.run_tags(state, result) | {NOTE_TAG: description(state, result, page)}
        points = wanted.run_points(state) + (wanted.run_results(state, result) if ended else [])
        status = wanted.PARENT_STATUS[state.status]
        name = wanted.run_name(state)
        said = json.dumps([tags, points, status, name], sort_keys=True)
        if said == self.done.parent_sent:
            return
        old: list[Any] = json.loads(self.done.parent_sent or '[{}, [], "", ""]')
        sent = {wanted.Point(*p) for p in old[1]}
        news = {k: v for k, v in tags.items() if old[0].get(k) != v}
        params = {} if self.done.parent_sent else wanted.run_params(state)
        fresh = [p for p in points if p not in sent] + self._withdrawn(state)
        self._log(self.done.run_id, fresh, params, news)
        if ended:
            self.client.set_terminated(self.done.run_id, status, wanted.ms(state.finished))
            self.client.update_run(self.done.run_id, name=name)
        else:
            self.client.update_run(self.done.run_id, status=status, name=name)
        self.done.parent_sent = said

    def _deliver_around(self, state: RunState) -> None:
        """Deliver the experiment's tags, which decide how its page opens, and the data sets."""
        done = self.done
        tags, parts = experiment_tags(state, done.run_id), wanted.data_parts(state)
        said = json.dumps([tags, parts], sort_keys=True)
        if said == done.around_sent:
            return
        old_tags, old_parts = json.loads(done.around_sent or "[{}, []]")
        for name, value in tags.items():
            if old_tags.get(name) != value:
                self.client.set_experiment_tag(self.store.experiment_id, name, value)
        if parts and old_parts != [list(part) for part in parts]:
            self._log_data(done.run_id, parts)
        done.around_sent = said

    def _log_data(self, run_id: str, parts: list[wanted.Data]) -> None:
        """Log the data sets of a run; those that it has already are not logged again."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if not parts:
            return
        inputs = [
            DatasetInput(
                Dataset(
                    *(part.name, part.digest, "local", json.dumps({"uri": part.source})),
                    profile=part.profile or None,
                ),
                [InputTag(CONTEXT_TAG, part.context)],
            )
            for part in parts
        ]
        self.client.log_inputs(run_id, inputs)

    def _files(self, run_id: str) -> dict[str, int]:
        """Names and sizes (bytes) of the files at the top level of a run's artifacts."""
        found = self.client.list_artifacts(run_id)
        return {file.path: int(file.file_size or 0) for file in found if not file.is_dir}

    def _forget_lost_files(self) -> None:
        """Forget files that were deleted since they were sent, by its clean-up or past MLflow."""
        done = self.done
        if done.artifacts:
            there = self._files(done.run_id)
            done.artifacts = {
                name: mark for name, mark in done.artifacts.items() if there.get(name) == mark[0]
            }
        for child in done.children.values():
            if child.traceback:
                child.traceback = "traceback.txt" in self._files(child.run_id)

    def _deliver_tracebacks(self, state: RunState) -> None:
        for name, child in self.done.children.items():
            error = state.trials[name].error if name in state.trials else None
            if error and child.ended and not child.traceback:
                self.client.log_text(child.run_id, error, "traceback.txt")
                child.traceback = True
                self._save()

    def _changed_artifacts(self, state: RunState) -> dict[str, tuple[Path, list[Any]]]:
        """Files whose size or time has changed since they were sent, by name."""
        changed = {}
        for name, path in wanted.artifacts(self.run_dir, state).items():
            stat = path.stat()
            mark = [stat.st_size, stat.st_mtime_ns]
            if self.done.artifacts.get(name, [])[:2] != mark:
                changed[name] = (path, mark)
        return changed

    def _deliver_artifacts(self, state: RunState) -> None:
        for name, (path, mark) in self._changed_artifacts(state).items():
            content = file_digest(path)
            if self.done.artifacts.get(name, [])[2:] != [content]:
                self.client.log_artifact(self.done.run_id, str(path))
            self.done.artifacts[name] = [*mark, content]
            self._save()

    def _deliver_tables(self, state: RunState) -> None:
        """Deliver tables that differ from what was sent, as do all that earlier versions sent."""
        result = wanted.known_result(self.run_dir)
        for name, content in wanted.tables(state, result).items():
            mark = [len(content.encode()), digest(content)]
            if self.done.artifacts.get(name) != mark:
                self.client.log_text(self.done.run_id, content, name)
                self.done.artifacts[name] = mark
                self._save()

    # --- the wire --------------------------------------------------------------------------

    def _log(
        self,
        run_id: str,
        points: list[wanted.Point],
        params: dict[str, str],
        tags: dict[str, str],
    ) -> None:
        """`log_batch`, in as many calls as its limits require."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(p.key, p.value, p.time, p.step) for p in points]
        names = [Param(k, v) for k, v in params.items()]
        notes = [RunTag(k, v) for k, v in tags.items()]
        while metrics or names or notes:
            some_names, names = names[:MAX_NAMES], names[MAX_NAMES:]
            some_notes, notes = notes[:MAX_NAMES], notes[MAX_NAMES:]
            room = min(MAX_METRICS, MAX_ENTITIES - len(some_names) - len(some_notes))
            some, metrics = metrics[:room], metrics[room:]
            self.client.log_batch(run_id, some, some_names, some_notes)

    def _save(self, force: bool = False) -> None:
        with self._lock:
            now = time.monotonic()
            if force or now > self._save_from:
                self.done.save(self.run_dir)
                taken = time.monotonic() - now
                self._save_from = now + max(_SAVE_EVERY_S, taken / _SAVE_SHARE)


def _has_page(run: Any, trial: TrialRecord | None, state: RunState) -> bool:
    """Whether a trial's run has what its page shows; earlier versions sent no description and no
    data. What somebody has written there counts.
    """
    if trial is None:
        return True
    given = trial_page(trial, state).keys() <= run.data.tags.keys()
    return given and (bool(run.inputs.dataset_inputs) or not wanted.trial_data(state))


def _as_remembered(child: Child, run: Any, trial: TrialRecord | None) -> bool:
    """Whether the store has the last values that `child` counts; one that was restored from a
    backup may not.
    """
    if trial is None or child.attempt != trial.attempt:
        return True
    if child.ended and run.info.status != wanted.CHILD_STATUS[trial.state]:
        return False
    last = wanted.row_values(trial, child.rows - 1) if child.rows else {}
    return last.items() <= run.data.metrics.items()
