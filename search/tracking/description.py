"""The text on the page of a search in MLflow, in Markdown: verdict, table, where to go next."""

from __future__ import annotations

from search.record.folder import REPORT
from search.record.handed import SUBMISSION
from search.record.result import RunResult
from search.record.state import RunState
from search.summary import gain_words, headline
from search.tracking import wanted
from search.tracking.views import Page
from search.words import baseline_name, interval, number

NOTE_TAG = "mlflow.note.content"


def description(state: RunState, result: RunResult | None, page: Page) -> str:
    """The description of a search; while it runs (result: None), of what is searched."""
    lines = ["The search is running." if result is None else headline(result), ""]
    if result is not None and not result.is_table:
        lines += _table(state, result)
        lines += [f"- {words}" for words in gain_words(result)]
    lines += ["", _links(state, result, page), ""]
    where = [f"run `{state.run.name}`", f"split {(result and result.split) or state.run.split}"]
    return wanted.text("\n".join([*lines, ", ".join(where)]))


def _table(state: RunState, result: RunResult) -> list[str]:
    """A table of the winner and its rivals on the test items, best first."""
    if result.test is None:
        return []
    winner = wanted.winner_name(state, result) or result.best_trial or "winner"
    rows = [(result.test, f"**{winner}**", interval(result.test_ci))]
    if result.blend is not None and result.blend.test is not None:
        rows.append((result.blend.test, "blend", interval(result.blend.test_ci)))
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
