"""The winner as an MLflow pyfunc: user ids in, recommended item ids out.

MLflow copies this file beside the model and runs it when the model is loaded (models from code),
so it imports nothing of the project, and no pickled code is in the model: weights are loaded
with `weights_only=True`, ids are JSON, seen items are plain arrays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

BLOCK = 1024


class Recommender(PythonModel):
    """Scores b_i + p_u . q_i, items the user had in training left out, ties by lower item."""

    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts["model"])
        weights = torch.load(folder / "weights.pt", weights_only=True, map_location="cpu")
        self.user_factors: torch.Tensor = weights["user_factors"]  # (U, d)
        self.item_factors: torch.Tensor = weights["item_factors"]  # (I, d)
        self.item_bias: torch.Tensor = weights["item_bias"]  # (I,)
        ids = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        self.item_ids = np.array(ids["items"], dtype=object)
        self.user_index = {user: index for index, user in enumerate(ids["users"])}
        with np.load(folder / "seen.npz", allow_pickle=False) as seen:
            self.indptr, self.indices = seen["indptr"], seen["indices"]

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """One row a user of column `user_id`: `item_ids`, best first, at most `k` of them.

        An id the model was not trained with gets no items.
        """
        k = int((params or {}).get("k", 50))
        known = [self.user_index.get(user, -1) for user in model_input["user_id"].tolist()]
        found: list[list[Any]] = []
        for start in range(0, len(known), BLOCK):
            found += self._block(known[start : start + BLOCK], k)
        return pd.DataFrame({"user_id": model_input["user_id"].to_numpy(), "item_ids": found})

    def _block(self, users: list[int], k: int) -> list[list[Any]]:
        index = torch.tensor(users)
        scores_BI = torch.addmm(
            self.item_bias, self.user_factors[index.clamp(min=0)], self.item_factors.T
        )
        for row, user in enumerate(users):
            if user >= 0:
                seen = self.indices[self.indptr[user] : self.indptr[user + 1]]
                scores_BI[row, torch.from_numpy(seen.astype(np.int64))] = -torch.inf
        best = torch.sort(scores_BI, dim=1, descending=True, stable=True)
        lists = []
        for row, user in enumerate(users):
            top = best.indices[row, :k][best.values[row, :k] > -torch.inf]
            lists.append([] if user < 0 else self.item_ids[top.numpy()].tolist())
        return lists


set_model(Recommender())
