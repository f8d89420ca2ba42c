"""The champion's model on the test items of a later run, where that compares the two fairly
(ADR 195).

It is what a registry holds: a model trained on everything that its run had. So it may know test
items of the later run, and is then not asked: it would repeat what it was told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys.earlier import Earlier, Matched
from recsys.evaluation import evaluate
from recsys.interactions import CSR, contained, subset
from recsys.models.catalogue import Catalogue, load_catalogue
from recsys.models.saved import load_model
from search.record.handed import MODEL
from search.record.measured import UserValues, load_test_items, load_test_values
from search.tracking.store import scratch, short

MAX_BYTES = 512 * 2**20  # of a model that is fetched
MAX_SCORES = 200_000_000  # users x items: a few seconds; of more users, some are drawn


@dataclass(frozen=True)
class CrossTest:
    """Test values of the same users: by the later run, and by the champion's model."""

    mine: UserValues
    champion: UserValues


def cross_test(
    client: Any, champion_run: str, place: str, run_dir: Path, metric: str
) -> CrossTest | str:
    """Evaluate the champion's model on the test items of the run in `run_dir`.

    champion_run: the id of the champion's run in MLflow. place: where its model is among that run's
    artifacts. Returns why not, as words that end a sentence, where that is impossible, takes too
    long or would not be fair. Raises what the store raises.
    """
    mine = load_test_values(run_dir)
    if mine is None:
        return "this run has no test values"
    own = load_catalogue(run_dir / MODEL)
    held = load_test_items(run_dir, len(own.item_ids))
    if held is None or held.n_users != own.seen.n_users:
        return "this run did not keep its test items"
    files = f"{place}/artifacts/{MODEL}"  # those of the run's model, in a registered version
    size = sum(int(file.file_size or 0) for file in client.list_artifacts(champion_run, files))
    if not size:
        return "its model is not in MLflow"
    if size > MAX_BYTES:
        return f"its model is too large to be fetched and evaluated ({size / 1e6:,.0f} MB)"
    with scratch(run_dir) as temp:
        folder = Path(client.download_artifacts(champion_run, files, temp))
        try:
            return _compared(folder, own, held, mine, metric)
        except Exception as error:  # a model of another version, or damaged: it must not stop this
            return f"its model can't be evaluated ({short(error)})"


def _compared(
    folder: Path, own: Catalogue, held: CSR, mine: UserValues, metric: str
) -> CrossTest | str:
    """folder: of the champion's model. own: the catalogue of the later run; among its pairs are
    those that are `held` out, U x I.
    """
    then = load_catalogue(folder)
    matched = Matched.of(own.user_ids, own.item_ids, then)
    if (matched.users < 0).all() or (matched.items < 0).all():
        return "its data have no users or no items in common with these"
    if known := matched.pairs(held).overlap(then.seen):
        return f"it was trained on {known:,} of the {held.nnz:,} test items of this run"
    some = _some(mine, held.n_items)
    model = Earlier(load_model(folder), matched, then.seen)
    found = evaluate(
        model,
        subset(own.seen, ~contained(own.seen, held)),
        subset(held, np.isin(held.users(), some.users)),
        [metric],
    )
    if not np.array_equal(found.users, some.users):
        return "there are no values for the same users"
    return CrossTest(some, UserValues(found.users, found.per_user[metric]))


def _some(mine: UserValues, n_items: int) -> UserValues:
    """The values of as many users as can be scored soon, drawn in the same way every time."""
    count = max(1, MAX_SCORES // n_items)
    if len(mine.users) <= count:
        return mine
    drawn = np.random.default_rng(0).choice(len(mine.users), count, replace=False)
    drawn.sort()
    return UserValues(mine.users[drawn], mine.values[drawn])
