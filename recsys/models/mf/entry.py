"""The factorization as an entry of `recsys.models.MODELS`: `LFM` with the contract of a model."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.models.base import Cost, EpochReport, ListScorer, Model, Size
from recsys.models.mf import training
from recsys.models.mf.config import (
    QUANTILE_ITEMS,
    QUANTILE_PARTS,
    Adagrad,
    Adam,
    Bce,
    Even,
    Fixed,
    Hard,
    Sgd,
    Softmax,
    SoftmaxAtK,
    TrainConfig,
)
from recsys.models.mf.folding import Folding, learned_weight, unit_rows
from recsys.models.mf.losses import per_pair
from recsys.models.mf.model import LFM
from recsys.models.progress import Checkpoints
from recsys.scoring import Vectors

BESIDE = 1 << 16  # bytes of an engine's small arrays


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

    def to_device(self, device: str) -> Factorization:
        """This object, moved to torch's `device`."""
        return self.to(device)

    def arrays(self) -> dict[str, NDArray]:
        """The `state_dict` as float32 arrays, by the names of `LFM`'s parameters."""
        return {name: weights.cpu().numpy() for name, weights in self.state_dict().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Factorization:
        """The model that returned these `arrays`, on copies of them."""
        users, factors = arrays["user_factors"].shape
        items = len(arrays["item_factors"])
        model = cls(users, items, factors, rng=np.random.default_rng(0))
        # torch takes no array that cannot be written to, though it only reads this one
        model.load_state_dict(
            {
                name: torch.from_numpy(np.require(values, requirements=["W"]))
                for name, values in arrays.items()
            }
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
        """Memory: the weights, their best copy and what the optimiser keeps, which are the model;
        and what the compiled engine holds beside with one thread. Work: what is scored and trained
        in all epochs.

        Drawing a candidate and fetching its factors takes as long as about 250 operations, and
        training reads and writes everything it touches. The numbers were fitted to measured epochs
        of nine configs on three data sets (docs/experiments.md).
        """
        drawn, d = Drawn.of(config, size), config.latent_factors
        # a cosine also brings each row back to length 1
        step = 46 if config.cosine else 32
        each = drawn.scored * (2 * d + 250) + drawn.trained * (step * d + 300)
        rows = size.users + size.items
        weights = 4 * (rows * (d + 1) + 1)
        match config.optimizer:
            case Adam():
                kept = 2 * weights
            case Adagrad(per="row"):
                kept = 8 * rows
            case Adagrad():
                kept = weights
            case Sgd():
                kept = 0
        if isinstance(config.loss, SoftmaxAtK):  # estimates of its quantiles
            each += size.users * min(QUANTILE_ITEMS, size.items) * (2 * d + 250)
        model = 2 * weights + kept
        held = _held(config, size, drawn)
        return Cost(memory=model + held, work=float(config.epochs) * each, model=model)


@dataclass(frozen=True)
class Drawn:
    """What an epoch draws, from the size of its data: as if every user had enough free items.

    rows: of the engine, which it shuffles. trained: items that are moved, positives and negatives.
    scored: candidates that are only scored. width: negatives of a row, as the kernels' memory has
    to hold them; for BCE, whose rows are samples, 0. most: the most that is drawn at once.
    """

    rows: int
    trained: int
    scored: int
    width: int
    most: int

    @staticmethod
    def of(config: TrainConfig, size: Size) -> Drawn:
        """Raises TypeError for negatives that it does not know."""
        positives, n_items = size.positives, size.items
        pointwise = isinstance(config.loss, Bce)
        match config.negatives:
            case Fixed(count=count) if pointwise:  # of each user, whatever the number of positives
                count = min(count, n_items)
                samples = positives + min(size.users, positives) * count
                return Drawn(samples, samples, 0, 0, count)
            case Even() if pointwise:  # of each user, as many as positives: perhaps all items
                return Drawn(2 * positives, 2 * positives, 0, 0, n_items)
            case Hard(candidates=n, hard=m, random=k):
                n, k = min(n, n_items), min(k, n_items)
                width, scored, most = min(m, n) + k, n * positives, max(n, m + k)
            case Fixed(count=count):
                width = most = min(count, n_items)
                scored = 0
            case Even():
                width, scored, most = 1, 0, 1
            case other:
                raise TypeError(f"neg_mode {other.mode} has no cost")
        return Drawn(positives, (width + 1) * positives, scored, width, most)


def _held(config: TrainConfig, size: Size, drawn: Drawn) -> int:
    """Bytes that the compiled engine holds beside weights and optimiser, with one thread: rows,
    negatives drawn once, filters of what is not drawn, gradients of a batch, memory of a draw.
    """
    users, items, d = size.users, size.items, config.latent_factors
    rows, width = drawn.rows, max(drawn.width, 1)
    held = 24 * users + 2 * size.positives  # see `make_pool`
    if config.excludes_held_out:  # a copy of the pairs, with at most as many held out as known
        held += 8 * users + 10 * size.positives
    if isinstance(config.loss, Bce):
        held += 8 * users + 4 * drawn.most
    else:
        held += 12 * size.positives  # what rows are made of
        if config.draws_once and not isinstance(config.negatives, Hard):
            held += 4 * rows * width + 8 * size.positives
            if per_pair(config.loss):  # a row for each pair, made beside what was drawn
                rows, width = rows * width, 1
                held += 5 * rows
    held += 8 * rows
    if config.batch_size > 1 or isinstance(config.optimizer, Adam):
        batch = min(config.batch_size, max(users, items) + rows)
        touched = min(users, batch) + min(items, batch * (1 + width))
        held += (4 * d + 8) * touched + 4 * (users + items)
    if isinstance(config.loss, SoftmaxAtK):
        some = min(QUANTILE_ITEMS, items)
        room = some + min(items, config.loss.top_k)
        held += 4 * users + QUANTILE_PARTS * _draw_bytes(some, room, size, d)
    return held + _draw_bytes(drawn.most, max(drawn.most, drawn.width), size, d) + BESIDE


def _draw_bytes(most: int, width: int, size: Size, factors: int) -> int:
    """Of what draws `most` items at once and keeps `width` of them."""
    taken = min(64 * most, 8 * size.items) + min(8 * most, 4 * size.items)  # see `new_taken`
    return taken + 48 * width + 4 * factors
