"""Whether a new model becomes the champion: compared with it user by user where both were tested on
the same items (ADR 54).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search.record.compared import comparison
from search.record.folder import JOURNAL
from search.record.journal import read_state
from search.record.measured import TEST_VALUES, UserValues, load_test_values
from search.record.result import RefitOf, refit_of, succeeds
from search.record.state import RunState
from search.stats import compare_paired, p_text
from search.tracking import wanted
from search.tracking.store import is_missing, scratch
from search.words import number

ALIAS = "champion"
# Where these are equal, in tags and parameters of two runs, so are their test items and metric.
_TAGS, _PARAMS = ("metric", "split_digest"), ("data_digest", "ids_digest")


@dataclass(frozen=True)
class Succession:
    """Whether a version leads, and why. open: whether a person may decide otherwise."""

    leads: bool
    why: str
    open: bool = False


def succession(client: Any, name: str, run_dir: Path, state: RunState) -> Succession:
    """What becomes of the alias when a version of this run is registered under `name`.

    A run that was trained again was compared when it was made; one that ended before the champion's
    (synced late) never leads. Raises what the store raises: no answer moves no alias.
    """
    if wanted.won_by_leak(state, wanted.known_result(run_dir)):
        return Succession(False, "no champion, for it was chosen knowing held-out items")
    number_there = client.get_registered_model(name).aliases.get(ALIAS)
    if number_there is None:
        return Succession(True, "it became the champion")
    current = client.get_model_version(name, number_there)
    uid = current.tags.get(wanted.UID_TAG)
    if uid == state.uid:  # of an extended search, whose files it replaces
        return Succession(True, "it became the champion")
    who = f"version {number_there}"
    if (of := refit_of(state)) is not None:
        return _of_refit(of, uid == of.uid, who)
    if float(current.tags.get("finished") or 0.0) > (state.finished or 0.0):
        return Succession(False, f"{who}, of a run that ended later, stayed champion", True)
    return _of_search(client, current, run_dir, state)


def _of_refit(of: RefitOf, current: bool, who: str) -> Succession:
    """The verdict of a refit counts against the model that it was compared with."""
    if not current:
        why = f"the champion is another one than the model of {of.run}, and stayed"
    elif of.comparison is None:
        why = "the champion stayed, for nothing could be compared"
    elif of.stands:
        return Succession(True, "it became the champion")
    else:
        lost = of.comparison.proven and (of.comparison.gain or 0.0) < 0
        shown = "worse than" if lost else "not shown to be as good as"
        why = f"the champion stayed, for this model is {shown} that of {of.run} on the same items"
    return Succession(False, f"{why} ({who})", True)


def _of_search(client: Any, current: Any, run_dir: Path, state: RunState) -> Succession:
    """The winner of a search against the champion, where they can be compared."""
    run = _run(client, current.run_id)
    shown = (run.data.tags.get("run") if run is not None else None) or current.run_id
    who = f"version {current.version}, of run {shown}"
    mine, other, why = load_test_values(run_dir), None, "its run was deleted"
    if run is not None:
        why = _apart(run.data.tags, run.data.params, run_dir, state)
        other = None if why else _values(client, run, run_dir)
    if why or mine is None or other is None or not np.array_equal(mine.users, other.users):
        why = why or "there are no values of the same users"
        return Succession(True, f"it became the champion, not compared with {who}: {why}")
    return judged(mine, other, who, state.run.metric or "the metric")


def judged(mine: UserValues, other: UserValues, who: str, metric: str) -> Succession:
    """The paired comparison with the champion, on the same users, and what follows."""
    compared = compare_paired(mine.values, other.values, np.random.default_rng(0))
    value, before = float(mine.values.mean()), float(other.values.mean())
    leads = succeeds(comparison("champion", compared, "the champion", "the new model"), before)
    over = f"on the same {compared.users:,} users, {p_text(compared.p)}"
    if leads:
        numbers = f"{metric} {number(value)}, that one {number(before)}, {over}"
        return Succession(True, f"it became the champion, after {who} ({numbers})")
    numbers = f"it reaches {metric} {number(before)}, this one {number(value)}, {over}"
    return Succession(False, f"{who}, stayed champion: {numbers}", True)


def _apart(
    tags: Mapping[str, str], params: Mapping[str, str], run_dir: Path, state: RunState
) -> str:
    """Why the tests of the champion's run and of this one are of different items; '' if they are
    not."""
    mine_tags = wanted.run_tags(state, wanted.known_result(run_dir))
    mine_params = wanted.run_params(state)
    if any(tags.get(key) != mine_tags.get(key) for key in _TAGS) or "split_digest" not in tags:
        return "it was tested on another split, or by another metric"
    if any(params.get(key) != mine_params.get(key) for key in _PARAMS):
        return "it was tested on other data"
    return ""


def _run(client: Any, run_id: str) -> Any:
    """A run in MLflow; None where it is no longer there."""
    try:
        return client.get_run(run_id)
    except Exception as error:
        if is_missing(error):
            return None
        raise


def _values(client: Any, run: Any, run_dir: Path) -> UserValues | None:
    """The champion's values: as they were sent with its run, or in its folder beside this one."""
    run_id = run.info.run_id
    if any(file.path == TEST_VALUES for file in client.list_artifacts(run_id)):
        with scratch(run_dir) as temp:
            file = client.download_artifacts(run_id, TEST_VALUES, temp)
            return load_test_values(Path(file).parent)
    folder = run_dir.parent / (run.data.tags.get("run") or "")
    journal = folder / JOURNAL
    if not journal.is_file() or read_state(journal).uid != run.data.tags.get(wanted.UID_TAG):
        return None
    return load_test_values(folder)
