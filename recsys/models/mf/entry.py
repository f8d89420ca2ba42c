"""The factorization as an entry of `recsys.models.MODELS`: `LFM` with the contract of a model."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.models.base import Cost, EpochReport, ListScorer, Model, Size
from recsys.models.mf import training
from recsys.models.mf.config import (
    QUANTILE_ITEMS,
    Adagrad,
    Adam,
    Even,
    Fixed,
    Hard,
    Sgd,
    Softmax,
    SoftmaxAtK,
    TrainConfig,
)
from recsys.models.mf.folding import Folding, learned_weight, unit_rows
from recsys.models.mf.model import LFM
from recsys.models.progress import Checkpoints
from recsys.scoring import Vectors


class Factorization(LFM, Model):
    """A factorization with biases, trained with the loss, negatives and optimiser of its config."""

    @classmethod
    def create(
        cls, config: TrainConfig, n_users: int, n_items: int, *, rng: np.random.Generator
    ) -> Factorization:
        """Random factors with the config's size and standard deviation; see `LFM`."""
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
        checkpoints: Checkpoints | None = None,
    ) -> Iterator[EpochReport]:
        """See `Model.train`; the engine is the one that fits the device."""
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
            checkpoints=checkpoints,
        )

    @classmethod
    def warm_up(cls, config: TrainConfig, *, threads: int = 1) -> None:  # noqa: ARG003
        """Compile every kernel of the compiled engine, whatever the config; see `Model.warm_up`."""
        from recsys.models.mf.warm_up import warm_up

        warm_up(threads=threads)

    def list_scorer(self, config: TrainConfig, seen: CSR) -> ListScorer:
        """One Newton step from the mean vector of the known users, with the weight that serves them
        best; see `folding`.
        """
        vectors = self.vectors()
        bias = vectors.bias
        assert bias is not None
        items, known = vectors.items, vectors.users[seen.degrees() > 0]
        if not len(known):
            known = vectors.users
        if not config.cosine:
            folding = Folding.of(known, items, bias)
        else:  # the likelihood is of scores over the temperature
            assert isinstance(config.loss, Softmax | SoftmaxAtK)
            sharp = np.float32(1 / config.loss.temperature)
            folding = Folding.of(known, sharp * items, sharp * bias)

        added, across = torch.from_numpy(bias), torch.from_numpy(items).T

        def weighing(weight: float) -> ListScorer:
            def scores(lists: CSR) -> NDArray[np.float32]:
                users = folding.users(lists, weight)
                ours = torch.from_numpy(unit_rows(users) if config.cosine else users)
                # by torch: see `scoring.product_with`
                return torch.addmm(added, ours, across).numpy()

            return scores

        return weighing(learned_weight(weighing, seen))

    def vectors(self) -> Vectors:
        """The factors of both sides and the items' biases, which decide each user's ranking."""
        views = self.to_host().views()
        return Vectors(views.user_factors, views.item_factors, views.item_bias)

    def to_host(self) -> Factorization:
        """This object, moved to the CPU if it was elsewhere."""
        return self.cpu()

    def arrays(self) -> dict[str, NDArray]:
        """The `state_dict` as float32 arrays, by the names of `LFM`'s parameters."""
        return {name: weights.cpu().numpy() for name, weights in self.state_dict().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Factorization:
        """The model that returned these `arrays`, on copies of them."""
        users, factors = arrays["user_factors"].shape
        items = len(arrays["item_factors"])
        model = cls(users, items, factors, rng=np.random.default_rng(0))
        model.load_state_dict(
            {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
        )
        return model

    weights_file = "weights.pt"

    def to_bytes(self) -> bytes:
        """The `state_dict` in the format of `torch.save`."""
        buffer = io.BytesIO()
        torch.save(self.state_dict(), buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Factorization:
        """The model whose `to_bytes` returned `content`; reading runs no code from it."""
        weights = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        return cls.from_arrays({name: tensor.numpy() for name, tensor in weights.items()})

    @staticmethod
    def cost(config: TrainConfig, size: Size) -> Cost:
        """Memory: the weights, their best copy, and what the optimiser keeps. Work: for each
        positive, N candidates are scored and L negatives trained.

        Drawing a candidate and fetching its factors takes as long as about 250 operations, and
        training reads and writes everything it touches. The numbers were fitted to measured epochs
        of nine configs on three data sets (docs/experiments.md).
        """
        weights = 4 * (size.users + size.items) * (config.latent_factors + 1)
        kept = {Adam: 2, Adagrad: 1, Sgd: 0}[type(config.optimizer)]
        match config.negatives:
            case Hard(candidates=n, hard=m, random=k):
                scored, trained = n, m + k
            case Fixed(count=count):
                scored, trained = 0, count
            case Even():
                scored, trained = 0, 1
            case other:
                raise TypeError(f"neg_mode {other.mode} has no cost")
        d = config.latent_factors
        # a cosine also brings each row back to length 1
        step = 46 if config.cosine else 32
        each = scored * (2 * d + 250) + (trained + 1) * (step * d + 300)
        work = float(config.epochs) * size.positives * each
        if isinstance(config.loss, SoftmaxAtK):  # estimates of its quantiles
            drawn = size.users * min(QUANTILE_ITEMS, size.items)
            work += float(config.epochs) * drawn * (2 * d + 250)
        return Cost(memory=weights * (2 + kept), work=work)
