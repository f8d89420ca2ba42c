"""The latent factor model, score(u, i) = mu + b_u + b_i + p_u . q_i.

Shapes: U users, I items, d latent factors, B a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.interactions import CSR
from recsys.models.mf.arrays import aligned_zeros


class ModelViews(NamedTuple):
    """float32 numpy views on the weights; writing to them writes to the model."""

    user_factors: NDArray[np.float32]  # (U, d)
    item_factors: NDArray[np.float32]  # (I, d)
    user_bias: NDArray[np.float32]  # (U,)
    item_bias: NDArray[np.float32]  # (I,)
    global_bias: NDArray[np.float32]  # (1,)


class LFM(nn.Module):
    """Matrix factorization with biases; factors ~ N(0, init_std^2), biases 0.

    The weights are the one source of truth: compiled kernels work on them in place through
    `views()`, the torch engine through autograd, and a saved model is its `state_dict`.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        latent_factors: int,
        *,
        rng: np.random.Generator,
        init_std: float = 0.01,
    ) -> None:
        super().__init__()

        def factors(rows: int) -> nn.Parameter:
            values = aligned_zeros((rows, latent_factors))
            rng.standard_normal(dtype=np.float32, out=values)
            values *= np.float32(init_std)
            return nn.Parameter(torch.from_numpy(values))

        self.user_factors = factors(n_users)
        self.item_factors = factors(n_items)
        self.user_bias = nn.Parameter(torch.zeros(n_users))
        self.item_bias = nn.Parameter(torch.zeros(n_items))
        self.global_bias = nn.Parameter(torch.zeros(1))

    @property
    def n_users(self) -> int:
        """U, read off the weights."""
        return self.user_factors.shape[0]

    @property
    def n_items(self) -> int:
        """I, read off the weights."""
        return self.item_factors.shape[0]

    @property
    def latent_factors(self) -> int:
        """d, read off the weights."""
        return self.user_factors.shape[1]

    def forward(self, users_B: Tensor, items_B: Tensor) -> Tensor:
        """Scores of pairs; users and items int64, broadcastable against each other."""
        dot = (self.user_factors[users_B] * self.item_factors[items_B]).sum(-1)
        return self.global_bias + self.user_bias[users_B] + self.item_bias[items_B] + dot

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """Scores of every item for some users, float32 (len(users), I), in host memory.

        Leaves out the user and global bias: they do not change a user's ranking.
        """
        return self.device_scores(users).cpu().numpy()

    @torch.no_grad()
    def score_into(self, users: NDArray, out_BI: NDArray[np.float32]) -> None:
        """`score_users` into memory of the caller's (CPU models only)."""
        index = torch.from_numpy(np.asarray(users, np.int64))
        p = self.user_factors[index]
        torch.addmm(self.item_bias, p, self.item_factors.T, out=torch.from_numpy(out_BI))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.item_factors.device

    @torch.no_grad()
    def device_scores(self, users: NDArray) -> Tensor:
        """`score_users` as a tensor on the model's device."""
        index = torch.as_tensor(np.asarray(users, np.int64), device=self.device)
        return torch.addmm(self.item_bias, self.user_factors[index], self.item_factors.T)

    @torch.no_grad()
    def to_unit_length(self, positives: CSR) -> None:
        """Bring all factors to length 1, for cosine scores; those of users without positives, whom
        no step moves, to 0: their items are ranked by the biases alone.
        """
        for factors in (self.user_factors, self.item_factors):
            factors.div_(factors.norm(dim=1, keepdim=True))
        self.user_factors[torch.from_numpy(positives.degrees() == 0)] = 0.0

    def views(self) -> ModelViews:
        """Numpy views on the weights (CPU models only)."""
        return ModelViews(
            *(
                p.detach().numpy()
                for p in (
                    self.user_factors,
                    self.item_factors,
                    self.user_bias,
                    self.item_bias,
                    self.global_bias,
                )
            )
        )
