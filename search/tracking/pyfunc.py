"""The winner as an MLflow pyfunc: users, or what they like, in; recommended item ids out.

MLflow copies this file, and the package `recsys` as it is now, beside the model and runs them when
the model is loaded (models from code). So every model of the registry is served by its own code and
ranked as in the submission, and no pickled code is in it: a model reads its weights without
pickle, ids are JSON, seen items are plain arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray

from recsys import recommending
from recsys.interactions import CSR
from recsys.models.catalogue import load_catalogue
from recsys.models.saved import load_config, load_model
from recsys.receivers import texts

COLUMNS = ("user_id", "items", "similar_to")
K = 50


class ServedRecommender(PythonModel):
    """The best items for each row: of a user, of what somebody likes, or near an item."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the model, its ids and its seen items: what MLflow calls when it loads a model."""
        folder = Path(context.artifacts["model"])
        known = load_catalogue(folder)
        self.item_ids = known.item_ids
        self.item_index = {item: index for index, item in enumerate(texts(known.item_ids))}
        self.user_index = {user: index for index, user in enumerate(texts(known.user_ids))}
        model, config = load_model(folder), load_config(folder)
        self.recommender = recommending.Recommender(model, config, known.seen)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """One row for each row of `model_input`, whatever is in it.

        model_input: `similar_to`, an item, asks for items near it; `items`, a list, is what
        somebody likes, alone or with the history of a known `user_id`; `user_id` alone is a known
        user. Rows may differ in what they have.

        params: `k` places; `exclude_seen`: leave out a known user's history and the row's `items`;
        `candidates`: recommend only these ids, none for every item; `exclude`: and never these.

        Returns `item_ids` and `scores`, best first; `source`, how the row was answered: `model`,
        `items`, `similar`, or `popular` where nothing is known; `unknown_items`, those ids of the
        row that the model has never seen, which are ignored.
        """
        if not any(name in model_input for name in COLUMNS):
            raise ValueError(
                f"expected a column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}, "
                f"got {', '.join(map(str, model_input.columns)) or 'none'}"
            )
        asked = params or {}
        near, likes, unknown = self._wishes(model_input)
        users = [
            self.user_index.get(_text(user) or "", -1) for user in _column(model_input, "user_id")
        ]
        rows = np.repeat(np.arange(len(likes)), [len(row) for row in likes])
        every = np.fromiter((item for row in likes for item in row), np.int64, len(rows))
        lists = CSR.from_pairs(rows, every, len(likes), len(self.item_ids))
        k = int(asked.get("k", K))
        allowed = self._allowed(asked.get("candidates", ()), asked.get("exclude", ()))
        found = self.recommender.recommend(
            np.array(users, np.int64),
            lists,
            k,
            exclude_seen=bool(asked.get("exclude_seen", True)),
            allowed=allowed,
        )
        items, scores, source = found.items, found.scores, found.source
        at = np.flatnonzero(near >= 0)
        if len(at):
            items[at], scores[at] = self.recommender.similar(near[at], k, allowed=allowed)
            source = [
                "similar" if like >= 0 else how for like, how in zip(near, source, strict=True)
            ]
        kept = [row >= 0 for row in items]
        answers: dict[str, Any] = {
            "item_ids": [
                self.item_ids[row[there]].tolist() for row, there in zip(items, kept, strict=True)
            ],
            "scores": [row[there].tolist() for row, there in zip(scores, kept, strict=True)],
            "source": source,
            "unknown_items": unknown,
        }
        if "user_id" in model_input:
            answers = {"user_id": model_input["user_id"].to_numpy(), **answers}
        return pd.DataFrame(answers)

    def _wishes(
        self, model_input: pd.DataFrame
    ) -> tuple[NDArray[np.int64], list[list[int]], list[list[str]]]:
        """Of each row: the item that others shall be near, or -1; items liked; ids unknown."""
        near, likes, unknown = [], [], []
        for one, several in zip(
            _column(model_input, "similar_to"), _column(model_input, "items"), strict=True
        ):
            names = [name for name in map(_text, _each(several)) if name is not None]
            wanted = _text(one)
            near.append(self.item_index.get(wanted or "", -1))
            likes.append([self.item_index[name] for name in names if name in self.item_index])
            strange = [name for name in names if name not in self.item_index]
            if wanted is not None and near[-1] < 0:
                strange.append(wanted)
            unknown.append(strange)
        return np.array(near, np.int64), likes, unknown

    def _allowed(
        self, candidates: Iterable[Any], exclude: Iterable[Any]
    ) -> NDArray[np.bool_] | None:
        """The items that may be recommended, bool (I,); None for all of them."""
        only, never = list(candidates), list(exclude)
        if not only and not never:
            return None
        allowed = np.full(len(self.item_ids), not only)
        for names, value in ((only, True), (never, False)):
            known = [self.item_index[t] for t in map(_text, names) if t in self.item_index]
            allowed[known] = value
        return allowed


def _column(model_input: pd.DataFrame, name: str) -> list[Any]:
    return model_input[name].tolist() if name in model_input else [None] * len(model_input)


def _each(cell: Any) -> list[Any]:
    """The items of a cell: a list of any kind, a single one, or nothing."""
    if isinstance(cell, list | tuple | set | np.ndarray):
        return list(cell)
    return [cell]


def _text(value: Any) -> str | None:
    """An id as text; None where there is none. Whole numbers are floats in a column with gaps."""
    if value is None or value is pd.NA or value != value:
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip() or None


set_model(ServedRecommender())
