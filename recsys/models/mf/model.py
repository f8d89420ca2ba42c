"""The latent factor model, score(u, i) = mu + b_u + b_i + p_u . q_i.

Shapes: U users, I items, d latent factors, B a batch.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.interactions import CSR
from recsys.models.base import Cost, EpochReport, Model, Size
from recsys.models.mf.arrays import aligned_zeros
from recsys.models.mf.config import Adam, Hard, Sgd, TrainConfig


class ModelViews(NamedTuple):
    """float32 numpy views on the weights; writing to them writes to the model."""

    user_factors: NDArray[np.float32]  # (U, d)
    item_factors: NDArray[np.float32]  # (I, d)
    user_bias: NDArray[np.float32]  # (U,)
    item_bias: NDArray[np.float32]  # (I,)
    global_bias: NDArray[np.float32]  # (1,)


class LFM(nn.Module, Model):
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

    @classmethod
    def create(
        cls, config: TrainConfig, n_users: int, n_items: int, *, rng: np.random.Generator
    ) -> LFM:
        """Random factors of the config's size; see the constructor."""
        return cls(n_users, n_items, config.latent_factors, rng=rng, init_std=config.init_std)

    def train(  # type: ignore[override]  # torch's switch of the same name is not used
        self,
        config: TrainConfig,
        positives: CSR,
        held_out: CSR | None,
        *,
        rng: np.random.Generator,
        metric: str = "map@50",
        metrics: Sequence[str] = (),
        exclude: CSR | None = None,
        threads: int = 1,
        device: str = "cpu",
        time_limit: float | None = None,
    ) -> Iterator[EpochReport]:
        """`recsys.models.mf.training.train` with the engine that fits the device."""
        from recsys.models.mf import training

        return training.train(
            self,
            positives,
            held_out,
            config,
            rng=rng,
            metric=metric,
            metrics=metrics,
            exclude=exclude,
            threads=threads,
            device=device,
            time_limit=time_limit,
        )

    @property
    def n_users(self) -> int:
        return self.user_factors.shape[0]

    @property
    def n_items(self) -> int:
        return self.item_factors.shape[0]

    @property
    def latent_factors(self) -> int:
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

    def to_host(self) -> LFM:
        return self.cpu()

    def arrays(self) -> dict[str, NDArray]:
        return {name: weights.cpu().numpy() for name, weights in self.state_dict().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> LFM:
        users, factors = arrays["user_factors"].shape
        items = len(arrays["item_factors"])
        model = cls(users, items, factors, rng=np.random.default_rng(0))
        model.load_state_dict(
            {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
        )
        return model

    weights_file = "weights.pt"

    def to_bytes(self) -> bytes:
        """The `state_dict` as torch saves it."""
        buffer = io.BytesIO()
        torch.save(self.state_dict(), buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> LFM:
        weights = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        return cls.from_arrays({name: tensor.numpy() for name, tensor in weights.items()})

    @staticmethod
    def cost(config: TrainConfig, size: Size) -> Cost:
        """Weights, their best copy, what the optimiser keeps; N scored and L trained a positive."""
        weights = 4 * (size.users + size.items) * (config.latent_factors + 1)
        kept = {Adam: 2, Sgd: 0}.get(type(config.optimizer), 1)
        match config.negatives:
            case Hard(candidates=n, hard=m, random=k):
                scored, trained = n, m + k
            case negatives:
                scored, trained = 0, getattr(negatives, "count", 1)
        flops = 2 * scored + 8 * (trained + 1)
        work = float(config.epochs) * size.positives * flops * config.latent_factors
        return Cost(memory=weights * (2 + kept), work=work)
