"""The winner as an MLflow pyfunc: user ids in, recommended item ids out.

MLflow copies this file, and the package `recsys` as it is now, beside the model and runs them when
the model is loaded (models from code). So every model of the registry is served by its own code and
ranked as in the submission, and no pickled code is in it: a model reads its weights without
pickle, ids are JSON, seen items are plain arrays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray

from recsys.evaluation import top_items
from recsys.interactions import CSR
from recsys.models.saved import load_model


class Recommender(PythonModel):
    """The best items of each user, those left out that the user had in training."""

    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts["model"])
        self.model = load_model(folder)
        ids = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        self.item_ids = np.array(ids["items"], dtype=object)
        self.user_index = {user: index for index, user in enumerate(ids["users"])}
        with np.load(folder / "seen.npz", allow_pickle=False) as seen:
            self.seen = CSR(seen["indptr"], seen["indices"], len(self.item_ids))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """One row a user of column `user_id`: `item_ids`, best first, at most `k` of them.

        An id the model was not trained with gets no items.
        """
        k = max(0, min(int((params or {}).get("k", 50)), len(self.item_ids)))
        users = model_input["user_id"].tolist()
        asked = [self.user_index[user] for user in users if user in self.user_index]
        best: NDArray = np.empty((0, 0), np.int32)
        if k and asked:
            best = top_items(self.model, self.seen, asked, k)
        lists = iter([self.item_ids[row[row >= 0]].tolist() for row in best])
        found: list[list[Any]] = [
            next(lists, []) if user in self.user_index else [] for user in users
        ]
        return pd.DataFrame({"user_id": model_input["user_id"].to_numpy(), "item_ids": found})


set_model(Recommender())
