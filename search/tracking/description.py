"""The text on the pages of a search and of its trials in MLflow, in Markdown: verdict, table, where
to go next.
"""

from __future__ import annotations

from search.record.events import Reason, State
from search.record.folder import REPORT
from search.record.handed import SUBMISSION
from search.record.result import RunResult
from search.record.state import RunState, TrialRecord
from search.record.tables import one_line_cause
from search.summary import gain_words, headline
from search.tracking import wanted
from search.tracking.views import Page
from search.words import baseline_name, config_line, interval, number

NOTE_TAG = "mlflow.note.content"
_ENDS = {State.COMPLETE: "Completed", State.PRUNED: "Pruned", State.FAILED: "Failed"}
_REASONS = {
    Reason.EPOCHS: "all epochs were trained",
    Reason.PATIENCE: "it had stopped getting better",
    Reason.TIME: "its time was up",
    Reason.ERROR: "it raised an error",
    Reason.ASHA: "others were ahead after as many epochs",
    Reason.WORKER: "its worker died in every attempt",
    Reason.FAILURES: "the search stopped, since the first trials all failed",
    Reason.WORKERS: "the search stopped, since no worker started",
    Reason.STOPPED: "the search stopped",
}


def description(state: RunState, result: RunResult | None, page: Page) -> str:
    """The description of a search; while it runs (result: None), of what is searched."""
    lines = ["The search is running." if result is None else headline(result), ""]
    if result is not None and not result.is_table:
        lines += _table(state, result)
        lines += [f"- {words}" for words in gain_words(result)]
    lines += ["", _links(state, result, page), ""]
    where = [f"run `{state.run.name}`", f"split {(result and result.split) or state.run.split}"]
    return wanted.text("\n".join([*lines, ", ".join(where)]))


def trial_page(trial: TrialRecord, state: RunState) -> dict[str, str]:
    """The tags of a trial's run, and a line on its page: its parameters, what it reached, and why
    it ended.
    """
    note = wanted.text(". ".join(_of_trial(trial, state.run.metric or "value")))
    return wanted.trial_tags(trial, state) | {NOTE_TAG: note}


def _of_trial(trial: TrialRecord, metric: str) -> list[str]:
    said = [config_line(trial.params) or trial.title]
    if trial.value is not None:
        epochs = "" if trial.epochs is None else f" of {trial.epochs:,}"
        at = "" if trial.best_epoch is None else f" at epoch {trial.best_epoch:,}{epochs}"
        said.append(f"Best {metric} {number(trial.value)}{at}")
    if trial.finished:
        why = "" if trial.reason is None else f": {_REASONS[trial.reason]}"
        cause = one_line_cause(trial) if trial.state == State.FAILED else ""
        said.append(f"{_ENDS.get(trial.state, 'Ended')}{why}{f' ({cause})' if cause else ''}")
    return said


def _table(state: RunState, result: RunResult) -> list[str]:
    """A table of the winner, the blend and the rivals on the test items, best first; what is
    handed over is bold.
    """
    if result.test is None:
        return []
    blend, handed = result.blend, result.handed_over.name
    winner = wanted.winner_name(state, result) or result.best_trial or "winner"
    rows: list[tuple[float, str, str]] = []
    if handed is None or result.refit_of is None:  # of a refit, a blend alone was trained again
        rows.append((result.test, winner if handed else f"**{winner}**", interval(result.test_ci)))
    if blend is not None and blend.test is not None:
        name = f"**{handed}**" if handed else "blend"
        rows.append((blend.test, name, interval(blend.test_ci)))
    rows += [
        (one.test, baseline_name(name), "")
        for name, one in result.baselines.items()
        if one.test is not None
    ]
    rows.sort(key=lambda row: -row[0])
    head = [f"| | {result.metric} on test | 95% interval |", "|---|---|---|"]
    return [*head, *(f"| {who} | {number(value)} | {ci} |" for value, who, ci in rows), ""]


def _links(state: RunState, result: RunResult | None, page: Page) -> str:
    links = [f"[all trials]({page.trials(state)})"]
    if result is not None:
        links += [f"[{name}]({page.artifact(name)})" for name in (REPORT, SUBMISSION)]
    return " · ".join(links)
