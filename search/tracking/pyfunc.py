"""The winner as an MLflow pyfunc: users, or what they like, go in; recommended item ids come out.

MLflow copies this file, and the package `recsys` as it is now, beside the model and runs them when
the model is loaded (models from code). So every model in the registry is served by its own code,
ranks as in the submission, and contains no pickled code: weights are read without pickle, ids are
JSON, seen items are plain arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray

from recsys import recommending
from recsys.interactions import CSR
from recsys.models.catalogue import load_catalogue
from recsys.models.saved import load_config, load_model
from recsys.receivers import texts

COLUMNS = ("user_id", "items", "similar_to")
UNKNOWN = "unknown"  # the source of a row that asks for items near an unknown item
NOT_ASKED, STRANGE = -1, -2  # in place of the item in `similar_to`: none is given, it is unknown
K = 50

refused: Callable[[str], MlflowException] = MlflowException.invalid_parameter_value  # HTTP 400


class ServedRecommender(PythonModel):
    """The best items for each row: for a user, for what somebody likes, or near an item."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the model, its ids and its seen items; MLflow calls this when it loads a model."""
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
        """One row of answers for each row of `model_input`.

        model_input: `similar_to`, an item, asks for items near it; `items`, a list, is what
        somebody likes, alone or together with the history of a known `user_id`; `user_id` alone is
        a known user. Rows may differ in which of these they have.

        params: `k`: how many items, at least 1; `exclude_seen`: leave out a known user's history
        and the row's `items`; `candidates`: recommend only these ids, possibly none (not given, or
        [None]: every item); `exclude`: never recommend these.

        Returns `item_ids` and `scores`, best first; `source`, how the row was answered: `model`,
        `items`, `similar`, `popular` where nothing is known of the user, `unknown` (and no items)
        where nothing is known of the item in `similar_to`; `unknown_items`, the ids of the row that
        the model has never seen, which are ignored; `unknown_candidates` and `unknown_exclude`, how
        many ids of these params it has never seen, where they are given.

        Raises MlflowException, a 400 over HTTP, for senseless input: a row with both `similar_to`
        and a user, a cell that is not an id or a float that may be another id, rounded, a `k` that
        is not a whole number of at least 1.
        """
        if not any(name in model_input for name in COLUMNS):
            raise refused(
                f"expected a column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}, "
                f"got {', '.join(map(str, model_input.columns)) or 'none'}"
            )
        asked = params or {}
        k = _places(asked.get("k", K))
        only, never = (_named(asked, name) for name in ("candidates", "exclude"))
        near, likes, unknown = self._wishes(model_input)
        users = [
            self.user_index.get(user or "", -1) for user in _column(model_input, "user_id", _text)
        ]
        rows = np.repeat(np.arange(len(likes)), [len(row) for row in likes])
        every = np.fromiter((item for row in likes for item in row), np.int64, len(rows))
        lists = CSR.from_pairs(rows, every, len(likes), len(self.item_ids))
        allowed = self._allowed(only, never)
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
        for row in np.flatnonzero(near != NOT_ASKED):
            source[row] = "similar" if near[row] >= 0 else UNKNOWN
        items[near == STRANGE] = -1
        kept = [row >= 0 for row in items]
        answers: dict[str, Any] = {
            "item_ids": [
                self.item_ids[row[there]].tolist() for row, there in zip(items, kept, strict=True)
            ],
            "scores": [row[there].tolist() for row, there in zip(scores, kept, strict=True)],
            "source": source,
            "unknown_items": unknown,
        }
        for name, ids in (("candidates", only), ("exclude", never)):
            if ids is not None:
                answers[f"unknown_{name}"] = sum(one not in self.item_index for one in ids)
        if "user_id" in model_input:
            # None, since JSON has no NaN
            own = [None if _text(one) is None else one for one in model_input["user_id"].tolist()]
            answers = {"user_id": pd.Series(own, dtype=object), **answers}
        return pd.DataFrame(answers)

    def _wishes(
        self, model_input: pd.DataFrame
    ) -> tuple[NDArray[np.int64], list[list[int]], list[list[str]]]:
        """For each row: the item in `similar_to`, NOT_ASKED where there is none, STRANGE where the
        model does not know it; the items liked; and the unknown ids.
        """
        near, likes, unknown = [], [], []
        columns = (
            _column(model_input, "similar_to", _text),
            _column(model_input, "items", _texts),
            _column(model_input, "user_id", _text),
        )
        for row, (one, several, user) in enumerate(zip(*columns, strict=True)):
            names = several or []
            if one is not None and (names or user is not None):
                other = "items" if names else "user_id"
                raise refused(
                    f"row {row}: has similar_to and {other}: expected one of them (items near an "
                    "item are the same for everybody)"
                )
            likes.append([self.item_index[name] for name in names if name in self.item_index])
            strange = [name for name in names if name not in self.item_index]
            near.append(NOT_ASKED if one is None else self.item_index.get(one, STRANGE))
            if one is not None and near[-1] == STRANGE:
                strange.append(one)
            unknown.append(strange)
        return np.array(near, np.int64), likes, unknown

    def _allowed(
        self, only: Sequence[str] | None, never: Sequence[str] | None
    ) -> NDArray[np.bool_] | None:
        """The items that may be recommended, bool (I,); None for all of them."""
        if only is None and not never:
            return None
        allowed = np.full(len(self.item_ids), only is None)
        for names, value in ((only or (), True), (never or (), False)):
            allowed[[self.item_index[name] for name in names if name in self.item_index]] = value
        return allowed


def _places(k: Any) -> int:
    """How many items a row gets. Raises MlflowException where k is not such a number."""
    whole = isinstance(k, int | np.integer) or (isinstance(k, float) and k.is_integer())
    if isinstance(k, bool) or not whole or k < 1:
        raise refused(f"k: expected a whole number from 1, got {k!r}")
    return int(k)


def _named(params: dict[str, Any], name: str) -> list[str] | None:
    """The different ids of a param; None where it is not given, for which MLflow has [None]."""
    given = params.get(name)
    if given is None or (len(given) == 1 and given[0] is None):
        return None
    if isinstance(given, str):
        raise refused(f"{name}: expected a list of ids, got {given!r}")
    try:
        return list(dict.fromkeys(one for one in map(_text, given) if one is not None))
    except (TypeError, ValueError) as error:
        raise refused(f"{name}: {error}") from None


def _column(model_input: pd.DataFrame, name: str, read: Callable[[Any], Any]) -> list[Any]:
    """The cells of a column, converted by `read`; None for each where there is no such column."""
    if name not in model_input:
        return [None] * len(model_input)
    column = model_input[name]
    # `tolist` would make a float of any width one of 64 bits
    cells = column.to_numpy() if column.dtype.kind == "f" else column.tolist()
    found = []
    for row, cell in enumerate(cells):
        try:
            found.append(read(cell))
        except (TypeError, ValueError) as error:
            raise refused(f"row {row}: {name}: {error}") from None
    return found


def _texts(cell: Any) -> list[str]:
    """The ids in a cell: a list of any kind, a single one, or nothing."""
    each = list(cell) if isinstance(cell, list | tuple | set | np.ndarray) else [cell]
    return [name for name in map(_text, each) if name is not None]


def _text(value: Any) -> str | None:
    """An id as text; None where there is none. Whole numbers are floats in a column with gaps.

    Raises TypeError for what is no id, ValueError for a float so large that another id may have
    been rounded to it.
    """
    if isinstance(value, list | tuple | set | dict | np.ndarray):
        raise TypeError(f"expected an id, got {value!r}")
    if value is None or value is pd.NA or value != value:
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        bits = np.finfo(type(value)).nmant + 1
        if abs(value) >= 2**bits:
            raise ValueError(
                f"{int(value)} is a float, and from 2^{bits} on floats get rounded: send the id as "
                "a text (a column of numbers with gaps becomes floats)"
            )
        return str(int(value))
    return str(value).strip() or None


set_model(ServedRecommender())
