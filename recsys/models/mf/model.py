"""The latent factor model: score(u, i) = mu + b_u + b_i + p_u . q_i.

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
    """The weights as float32 numpy views; writing to them changes the model."""

    user_factors: NDArray[np.float32]  # (U, d)
    item_factors: NDArray[np.float32]  # (I, d)
    user_bias: NDArray[np.float32]  # (U,)
    item_bias: NDArray[np.float32]  # (I,)
    global_bias: NDArray[np.float32]  # (1,)


class LFM(nn.Module):
    """Matrix factorization with biases; factors start as N(0, init_std^2), biases as 0.

    Its parameters are the only copy of the weights: both engines change them in place, the compiled
    one through `views()`, and a saved model is its `state_dict`.
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
        """A model for `n_users` users (U) and `n_items` items (I), on the CPU.

        latent_factors: d. rng: draws the factors, users first. init_std: their standard deviation.
        """
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
        """U, the number of users."""
        return self.user_factors.shape[0]

    @property
    def n_items(self) -> int:
        """I, the number of items."""
        return self.item_factors.shape[0]

    @property
    def latent_factors(self) -> int:
        """d, the number of factors."""
        return self.user_factors.shape[1]

    def forward(self, users_B: Tensor, items_B: Tensor) -> Tensor:
        """Scores of pairs, float32; users and items are int64, broadcastable against each other."""
        dot = (self.user_factors[users_B] * self.item_factors[items_B]).sum(-1)
        return self.global_bias + self.user_bias[users_B] + self.item_bias[items_B] + dot

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """Scores of every item for some users, float32 (len(users), I), in host memory.

        users: internal ids, int (B,). The user and global biases are left out, as they do not
        change a user's ranking.
        """
        return self.device_scores(users).cpu().numpy()

    @torch.no_grad()
    def score_into(self, users: NDArray, out_BI: NDArray[np.float32]) -> None:
        """Write `score_users` to `out_BI`, float32 (len(users), I); only for a model on the CPU."""
        index = torch.from_numpy(np.asarray(users, np.int64))
        p = self.user_factors[index]
        torch.addmm(self.item_bias, p, self.item_factors.T, out=torch.from_numpy(out_BI))

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.item_factors.device

    @torch.no_grad()
    def device_scores(self, users: NDArray) -> Tensor:
        """The result of `score_users` as a tensor on the model's device."""
        index = torch.as_tensor(np.asarray(users, np.int64), device=self.device)
        return torch.addmm(self.item_bias, self.user_factors[index], self.item_factors.T)

    @torch.no_grad()
    def to_unit_length(self, positives: CSR) -> None:
        """Scale all factors to length 1, for cosine scores.

        The factors of users without positives (CSR of U x I), whom no step moves, become 0: such
        users' items are ranked by the biases alone.
        """
        for factors in (self.user_factors, self.item_factors):
            factors.div_(factors.norm(dim=1, keepdim=True))
        self.user_factors[torch.from_numpy(positives.degrees() == 0)] = 0.0

    def views(self) -> ModelViews:
        """Numpy views of the weights; only for a model on the CPU."""
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
