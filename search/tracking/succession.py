"""Whether a new model becomes the champion: it is compared with the champion user by user, on items
that neither of them was trained on. Where that is impossible the champion stays (ADR 54, 195).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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
from search.tracking.cross_test import cross_test
from search.tracking.store import is_missing, scratch
from search.words import number

ALIAS = "champion"
# Two runs in which these tags and parameters are equal have the same test items and metric.
_TAGS, _PARAMS = ("metric", "split_digest"), ("data_digest", "ids_digest")


@dataclass(frozen=True)
class Succession:
    """Whether a version becomes the champion, and why. open: whether the user may overrule it."""

    leads: bool
    why: str
    open: bool = False


def place_of(version: Any) -> str:
    """Where a version's files are among the artifacts of its run."""
    return str(version.source).rstrip("/").rsplit("/", 1)[-1]


def versions_of(client: Any, run_id: str) -> list[Any]:
    """All versions that were registered from a run."""
    return list(client.search_model_versions(f"run_id = '{run_id}'"))


def succession(client: Any, name: str, run_dir: Path, state: RunState, digest: str) -> Succession:
    """Whether a version of this run, registered under `name`, becomes the champion.

    digest: of its weights; with those of the champion it is the champion. A refit was compared with
    the model that it comes from when it was made; a run that was extended has had several. A run
    that ended before the champion's (it was synced late) never becomes the champion. Raises what
    the store raises: without its answer the champion stays.
    """
    if wanted.won_by_leak(state, wanted.known_result(run_dir)):
        why = "not made champion: it was chosen with knowledge of held-out items"
        return Succession(False, why)
    number_there = client.get_registered_model(name).aliases.get(ALIAS)
    if number_there is None:
        return Succession(True, "it became the champion")
    current = client.get_model_version(name, number_there)
    uid = current.tags.get(wanted.UID_TAG)
    if uid == state.uid:
        if current.tags.get("weights") == digest:
            return Succession(True, "it became the champion")
        return _of_extended(client, current, run_dir, state)
    who = f"version {number_there}"
    of = refit_of(state)
    if of is not None and uid == of.uid and of.weights in ("", current.tags.get("weights")):
        return _of_refit(of, who)
    if _ended(current.tags.get("finished")) > (state.finished or 0.0):
        return Succession(False, f"{who}, of a run that ended later, stayed champion", True)
    return _of_run(client, current, run_dir, state)


def _ended(tag: str | None) -> float:
    """When the run of a version ended, in Unix seconds: a date, or in earlier versions a number."""
    if not tag or tag == "None":
        return 0.0
    try:
        return datetime.fromisoformat(tag).timestamp()
    except ValueError:
        return float(tag)


def _of_refit(of: RefitOf, who: str) -> Succession:
    """The verdict for a refit of the champion, which is what it was compared with."""
    if of.comparison is None:
        why = "the champion stayed, since nothing could be compared"
    elif of.stands:
        return Succession(True, "it became the champion")
    else:
        lost = of.comparison.proven and (of.comparison.gain or 0.0) < 0
        shown = "worse than" if lost else "not shown to be as good as"
        why = f"the champion stayed: this model is {shown} that of {of.run} on the same items"
    return Succession(False, f"{why} ({who})", True)


def _of_extended(client: Any, current: Any, run_dir: Path, state: RunState) -> Succession:
    """The verdict for a search that went on, against what it had handed over before."""
    who = f"version {current.version}, of this search before it went on"
    mine, before = load_test_values(run_dir), None
    if _run(client, current.run_id) is not None:
        before = _values_beside(client, current, place_of(current), run_dir)
    if mine is None or before is None or not np.array_equal(mine.users, before.users):
        return _stays(who, "there are no values of both for the same users")
    return judged(mine, before, who, state.run.metric or "the metric")


def _of_run(client: Any, current: Any, run_dir: Path, state: RunState) -> Succession:
    """The verdict for any other model against the champion: by the values of both, where both were
    tested on the same items, or else by evaluating the champion on those of the new run.
    """
    run, metric = _run(client, current.run_id), state.run.metric or "the metric"
    if run is None:
        return _stays(f"version {current.version}", "its run was deleted")
    shown = run.data.tags.get("run") or current.run_id
    who = f"version {current.version}, of run {shown}"
    if not (apart := _apart(run.data.tags, run.data.params, run_dir, state)):
        mine, other = load_test_values(run_dir), _values(client, current, run, run_dir)
        if mine is not None and other is not None and np.array_equal(mine.users, other.users):
            return judged(mine, other, who, metric)
        apart = "there are no values for the same users"
    found = cross_test(client, current.run_id, place_of(current), run_dir, metric)
    if isinstance(found, str):
        known = "" if refit_of(state) is None else f" (a refit of run {shown} is compared with it)"
        return _stays(who, f"{apart}, and {found}{known}")
    where = "on this run's test items, which neither was trained on, for"
    return judged(found.mine, found.champion, who, metric, where)


def _stays(who: str, why: str) -> Succession:
    """The verdict where nothing can be compared; the user may overrule it."""
    return Succession(False, f"{who}, stayed champion, not compared with this one: {why}", True)


def judged(
    mine: UserValues, other: UserValues, who: str, metric: str, where: str = "on"
) -> Succession:
    """The verdict by a paired comparison with the champion, on the same users.

    mine, other: values of the new model and of the champion. who: the champion, for the words.
    where: words before the users, which say on which items.
    """
    compared = compare_paired(mine.values, other.values, np.random.default_rng(0))
    value, before = float(mine.values.mean()), float(other.values.mean())
    leads = succeeds(comparison("champion", compared, "the champion", "the new model"), before)
    over = f"{where} the same {compared.users:,} users, {p_text(compared.p)}"
    if leads:
        numbers = f"{metric} {number(value)}, that one {number(before)}, {over}"
        return Succession(True, f"it became the champion, after {who} ({numbers})")
    numbers = f"it reaches {metric} {number(before)}, this one {number(value)}, {over}"
    return Succession(False, f"{who}, stayed champion: {numbers}", True)


def _apart(
    tags: Mapping[str, str], params: Mapping[str, str], run_dir: Path, state: RunState
) -> str:
    """Why the champion's run and this one were tested on different items or metrics; '' if they
    were not. tags, params: of the champion's run.
    """
    mine_tags = wanted.run_tags(state, wanted.known_result(run_dir))
    mine_params = wanted.run_params(state)
    if any(tags.get(key) != mine_tags.get(key) for key in _TAGS) or "split_digest" not in tags:
        return "it was tested on another split, or by another metric"
    if any(params.get(key) != mine_params.get(key) for key in _PARAMS):
        return "it was tested on other data"
    return ""


def _run(client: Any, run_id: str) -> Any:
    """A run in MLflow; None where it no longer exists."""
    try:
        return client.get_run(run_id)
    except Exception as error:
        if is_missing(error):
            return None
        raise


def _values(client: Any, current: Any, run: Any, run_dir: Path) -> UserValues | None:
    """The champion's values, as sent with its model or, by earlier code, with its run, or from its
    folder beside this one; None where there are none.
    """
    if (sent := _values_beside(client, current, place_of(current), run_dir)) is not None:
        return sent
    if len(versions_of(client, current.run_id)) > 1:
        return None  # the run was extended: what lies at other places is of its last model
    if (sent := _values_beside(client, current, "", run_dir)) is not None:
        return sent
    folder = run_dir.parent / (run.data.tags.get("run") or "")
    journal = folder / JOURNAL
    if not journal.is_file() or read_state(journal).uid != run.data.tags.get(wanted.UID_TAG):
        return None
    return load_test_values(folder)


def _values_beside(client: Any, version: Any, folder: str, run_dir: Path) -> UserValues | None:
    """The values in a folder of the artifacts of a version's run; None where there are none.

    folder: that of the version's model; "", where earlier code left them, has those of the run's
    last model.
    """
    path = f"{folder}/{TEST_VALUES}".lstrip("/")
    if all(file.path != path for file in client.list_artifacts(version.run_id, folder or None)):
        return None
    with scratch(run_dir) as temp:
        return load_test_values(Path(client.download_artifacts(version.run_id, path, temp)).parent)
