"""The torch engine: vectorised throughout, for any device.

It is the engine for GPUs, and the slow twin of the compiled engine. Shapes: U users, I items,
E training positives, d factors, R rows of a batch, L negatives of a row, N candidates of which M
are kept, K random negatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from recsys.errors import DivergedError
from recsys.interactions import CSR
from recsys.models.mf import losses
from recsys.models.mf.config import (
    QUANTILE_ITEMS,
    Adam,
    Bce,
    Even,
    Fixed,
    Hard,
    SoftmaxAtK,
    TrainConfig,
)
from recsys.models.mf.model import LFM
from recsys.models.mf.torch_optim import make_optimizer
from recsys.models.mf.torch_sampling import PAD, TorchSampler, keep_others

# Elements of the largest temporary array, which bounds memory for any batch size, N and d. A GPU
# needs larger ones to be busy: 256 MB.
CHUNK = 1 << 22
GPU_CHUNK = 1 << 26
# Scoring all items by one matrix product beats gathering N rows while I < DENSE x N.
DENSE = 32
USER_FACTORS, ITEM_FACTORS, ITEM_BIAS, USER_BIAS, GLOBAL_BIAS = range(5)


class TorchEngine:
    """Moves `model` to `device` and trains it there. "Semantics that both engines share" in
    docs/architecture.md says what an epoch does.

    train: CSR of U x I. rng: seeds the device's own generator. exclude: CSR of U x I, kept out of
    the negatives with `negatives_exclude: all`. On a CPU the same seed gives the same weights; on
    a GPU sums are added in no fixed order, so results differ by rounding.
    """

    def __init__(
        self,
        model: LFM,
        train: CSR,
        config: TrainConfig,
        *,
        rng: np.random.Generator,
        exclude: CSR | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self._chunk = CHUNK if self.device.type == "cpu" else GPU_CHUNK
        if config.cosine:
            model.to_unit_length(train)
        self.model = model.to(self.device)
        self.config = config
        self.epochs = 0
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(int(rng.integers(2**62)))
        excluded = train
        if config.excludes_held_out and exclude is not None:
            excluded = train.union(exclude)
        self.sampler = TorchSampler(excluded, self.device, self.generator)
        users = torch.from_numpy(train.users().copy()).long().to(self.device)
        items = torch.from_numpy(train.indices.copy()).long().to(self.device)
        self._all_users, self._all_items = users, items
        # A user without a free item contributes no sample.
        self._usable = (self.sampler.free[users] > 0).nonzero()[:, 0]
        tables = [model.user_factors, model.item_factors, model.item_bias]
        if isinstance(config.loss, Bce):  # otherwise these two cancel in every difference
            tables += [model.user_bias, model.global_bias]
        self._optimizer = make_optimizer(tables, config.optimizer)
        l2 = (0.0, 0.0)
        if not isinstance(config.optimizer, Adam):
            l2 = (config.optimizer.l2, config.optimizer.l2_bias)
        self._l2, self._l2_bias = l2
        self._cosine = config.cosine
        self._once = self._draw_once()
        self._quantile_U: Tensor | None = None

    # Epochs

    def epoch(self) -> float:
        """One pass over the training data in a new order; returns the mean loss per sample.

        Raises DivergedError when the loss or a weight is NaN or infinite.
        """
        self.epochs += 1
        if isinstance(self.config.loss, Bce):
            total, count = self._pointwise_epoch()
        else:
            total, count = self._pairwise_epoch()
        mean = float(total) / max(int(count), 1)
        if not (math.isfinite(mean) and self._finite()):
            raise DivergedError(self.epochs, self.config.key())
        return mean

    def _changing(self) -> list[Tensor]:
        return [w.detach() for w in self.model.parameters()] + self._optimizer.state()

    @property
    def state_bytes(self) -> int:
        """The size of `state` without counter and generator, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._changing())

    def state(self) -> list[NDArray]:
        """The epoch, the state of the generator, the weights and the optimiser's state, copied."""
        generator = self.generator.get_state().numpy()
        held = [tensor.cpu().numpy().copy() for tensor in self._changing()]
        return [np.array(self.epochs), generator, *held]

    def restore(self, state: Sequence[NDArray]) -> None:
        """Copy back a `state` of an engine with the same config, data and seed."""
        epochs, generator, *arrays = (torch.from_numpy(array.copy()) for array in state)
        self.epochs = int(epochs)
        self.generator.set_state(generator)
        weights = list(self.model.parameters())
        with torch.no_grad():
            for mine, theirs in zip(weights, arrays, strict=False):
                mine.copy_(theirs)
        self._optimizer.restore([t.to(self.device) for t in arrays[len(weights) :]])

    @property
    def nbytes(self) -> int:
        """The memory held besides the model, in bytes: the data on the device, what is drawn once,
        the optimiser with its gradients, and the sampler.
        """
        held = [*(self._once or ()), *self._optimizer.tensors(), *self.sampler.tensors()]
        held += [self._all_users, self._all_items, self._usable]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    @torch.no_grad()
    def _finite(self) -> bool:
        largest = [w.abs().max() for w in self.model.parameters() if w.numel()]
        return math.isfinite(float(torch.stack(largest).sum()))

    def replay(self, rows: ArrayLike, negatives: ArrayLike) -> float:
        """Train on the given draws in the given order, in the config's batches; returns the mean
        loss. Tests compare the engines by it; `NumbaEngine.replay` describes rows and negatives.
        """
        rows_R = torch.as_tensor(np.array(rows, np.int64), device=self.device)
        negatives_RL = torch.as_tensor(np.array(negatives, np.int64), device=self.device)
        sums = _Sums(self.device)
        batch = self.config.batch_size
        if isinstance(self.config.loss, Bce):
            user, column = (negatives_RL >= 0).nonzero(as_tuple=True)
            every = torch.arange(len(self._all_items), device=self.device)
            users, items, labels = self._labelled(
                every, (user.int(), negatives_RL[user, column].int())
            )
            for part in rows_R.split(batch):
                self._pointwise_step(users[part].long(), items[part].long(), labels[part], sums)
        else:
            self._quantile_U = self._estimated_quantiles()
            for part, drawn in zip(rows_R.split(batch), negatives_RL.split(batch), strict=True):
                self._pairwise_step(self._all_users[part], self._all_items[part], drawn, sums)
        return float(sums.loss) / max(int(sums.count), 1)

    def _pairwise_epoch(self) -> tuple[Tensor, Tensor]:
        sums = _Sums(self.device)
        batch = self.config.batch_size
        self._quantile_U = self._estimated_quantiles()
        if self._once is not None:
            users, items, negatives = self._once
            for part in self._shuffled(len(users)).split(batch):
                self._pairwise_step(
                    users[part].long(), items[part].long(), negatives[part].long(), sums
                )
            return sums.loss, sums.count
        rows = self._usable[self._shuffled(len(self._usable))]
        hard = isinstance(self.config.negatives, Hard)
        width = self._width()
        # Uniform draws do not depend on the weights: many batches are drawn at once.
        block = batch if hard else batch * max(1, self._chunk // 8 // (batch * width))
        for some in rows.split(block):
            users, items = self._all_users[some], self._all_items[some]
            drawn = None if hard else self._draw(users, width)
            for part in torch.arange(len(some), device=self.device).split(batch):
                negatives = self.draw_hard(users[part]) if drawn is None else drawn[part]
                self._pairwise_step(users[part], items[part], negatives, sums)
        return sums.loss, sums.count

    def _pointwise_epoch(self) -> tuple[Tensor, Tensor]:
        sums = _Sums(self.device)
        users, items, labels = self._once or self._labelled(self._usable, self._user_negatives())
        for part in self._shuffled(len(users)).split(self.config.batch_size):
            self._pointwise_step(users[part].long(), items[part].long(), labels[part], sums)
        return sums.loss, sums.count

    def _shuffled(self, size: int) -> Tensor:
        return torch.randperm(size, generator=self.generator, device=self.device)

    # Draws

    def _width(self) -> int:
        match self.config.negatives:
            case Fixed(count=count):
                return min(count, self.model.n_items)
            case Even():
                return 1
            case Hard(hard=m, random=k):
                return m + k
        raise TypeError(f"neg_mode {self.config.negatives.mode} is not drawn here")

    def _draw(self, users_B: Tensor, count: int) -> Tensor:
        """`TorchSampler.draw` in parts that bound its temporaries; int64 (B, count)."""
        parts = [self.sampler.draw(part, count) for part in users_B.split(self._draw_size(count))]
        return torch.cat(parts) if parts else users_B.new_empty((0, count))

    def _draw_size(self, count: int) -> int:
        """For how many users `count` negatives each are drawn at once."""
        return max(1, self._chunk // 4 // max(count, 1))

    def _draw_once(self) -> tuple[Tensor, Tensor, Tensor] | None:
        if not self.config.draws_once or isinstance(self.config.negatives, Hard):
            return None
        if isinstance(self.config.loss, Bce):
            return self._labelled(self._usable, self._user_negatives())
        users, items = self._all_users[self._usable], self._all_items[self._usable]
        negatives = self._draw(users, self._width())
        if losses.per_pair(self.config.loss):  # the report shuffles triples, not positives
            row, column = (negatives >= 0).nonzero(as_tuple=True)
            users, items = users[row], items[row]
            negatives = negatives[row, column][:, None]
        # int32: these may be the largest thing in memory
        return users.int(), items.int(), negatives.int()

    def _user_negatives(self) -> tuple[Tensor, Tensor]:
        """BCE's negatives: the user and the item of each, int32, by user.

        Users differ in how many they have. The padding is dropped part by part, as one user with a
        long history would make a padded matrix of all users larger than everything else.
        """
        degrees_U = torch.bincount(self._all_users, minlength=self.model.n_users)
        every = torch.arange(self.model.n_users, device=self.device)
        match self.config.negatives:
            case Fixed():  # only users with a positive take part
                each_U = torch.where(degrees_U > 0, self._width(), 0)
            case Even():
                each_U = degrees_U
            case _:
                mode = self.config.negatives.mode
                raise TypeError(f"neg_mode {mode} has no negatives of a user")
        width = int(each_U.max()) if len(each_U) else 0
        users, items = [every[:0].int()], [every[:0].int()]
        size = self._draw_size(width)
        for part, each in zip(every.split(size), each_U.split(size), strict=True):
            if not width:
                break
            drawn = self.sampler.draw(part, width, each)
            row, column = (drawn >= 0).nonzero(as_tuple=True)
            users.append(part[row].int())
            items.append(drawn[row, column].int())
        return torch.cat(users), torch.cat(items)

    def _labelled(
        self, positives: Tensor, negatives: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Samples (user int32, item int32, label): some positives, then the negatives, which are
        given as (user, item), int32.
        """
        users = torch.cat([self._all_users[positives].int(), negatives[0]])
        items = torch.cat([self._all_items[positives].int(), negatives[1]])
        labels = torch.zeros(len(users), device=self.device)
        labels[: len(positives)] = 1.0
        return users, items, labels

    @torch.no_grad()
    def draw_hard(self, users_R: Tensor) -> Tensor:
        """Hard negatives of users, int64 (R,), with the current weights.

        Returns int64 (R, M+K), padded with -1: the M of N candidates with the highest scores, then
        K more from the other free items.
        """
        hard = self.config.negatives
        assert isinstance(hard, Hard)
        n, m, k = hard.candidates, hard.hard, hard.random
        n = min(n, self.model.n_items)
        m = min(m, n)
        k = min(k, self.model.n_items)
        parts = []
        for users in users_R.split(max(1, self._chunk // max(4 * n, (m + k) * m))):
            candidates = self.sampler.draw(users, n)
            scores = self.candidate_scores(users, candidates)
            scores = scores.masked_fill(candidates < 0, -torch.inf)
            hardest = candidates.gather(1, scores.topk(m, dim=1).indices)
            if k:
                others = keep_others(self.sampler.draw(users, m + k), hardest, k)
                hardest = torch.cat([hardest, others], 1)
            parts.append(hardest)
        return torch.cat(parts)

    @torch.no_grad()
    def _estimated_quantiles(self) -> Tensor | None:
        """The Top-K quantile of each user with the weights as they are, float32 (U,), for SL@K; 0
        for a user without positives.
        """
        loss = self.config.loss
        if not isinstance(loss, SoftmaxAtK):
            return None
        count = min(QUANTILE_ITEMS, self.model.n_items)
        found = torch.zeros(self.model.n_users, device=self.device)
        everybody = torch.arange(self.model.n_users, device=self.device)
        for users_B in everybody.split(max(1, self._chunk // (4 * count))):
            ends = torch.stack([users_B[0], users_B[-1] + 1])
            low, high = torch.searchsorted(self._all_users, ends).tolist()
            owners, items = self._all_users[low:high], self._all_items[low:high]
            drawn_BN = self._draw(users_B, count)
            valid_BN = drawn_BN >= 0
            # how many items a drawn one stands for
            each_B = self.sampler.free[users_B] / valid_BN.sum(1).clamp(min=1).double()
            rows = valid_BN.nonzero()[:, 0]
            scores = torch.cat(
                [
                    self.candidate_scores(owners, items[:, None])[:, 0],
                    self.candidate_scores(users_B, drawn_BN)[valid_BN],
                ]
            )
            places = torch.cat([torch.ones_like(owners, dtype=torch.float64), each_B[rows]])
            owners = torch.cat([owners - users_B[0], rows])
            best_first = scores.argsort(descending=True, stable=True)
            order = best_first[owners[best_first].argsort(stable=True)]
            reached, size_B = places[order].cumsum(0), owners.bincount(minlength=len(users_B))
            last_B = size_B.cumsum(0) - 1
            before_B = torch.where(last_B >= size_B, reached[last_B - size_B], 0.0)
            short = reached - before_B[owners[order]] < loss.top_k
            short_B = torch.zeros_like(size_B).index_add_(0, owners[order], short.long())
            at_B = last_B - size_B + 1 + torch.minimum(short_B, size_B - 1)
            found[users_B] = scores[order][at_B.clamp(min=0)]
        return found

    @torch.no_grad()
    def candidate_scores(self, users_R: Tensor, items_RN: Tensor) -> Tensor:
        """The scores b_j + p_u . q_j of items_RN (int64), float32 (R, N).

        Padding (-1) gets the score of item 0.
        """
        items_RN = items_RN.clamp(min=0)
        user_factors, item_factors = self.model.user_factors, self.model.item_factors
        bias, n = self.model.item_bias, items_RN.shape[1]
        dense = self.model.n_items <= DENSE * n
        width = self.model.n_items if dense else n * self.model.latent_factors
        size = max(1, self._chunk // width)
        parts = []
        for users, items in zip(users_R.split(size), items_RN.split(size), strict=True):
            p = user_factors.index_select(0, users)
            if dense:
                parts.append(torch.addmm(bias, p, item_factors.T).gather(1, items))
            else:
                q = item_factors.index_select(0, items.flatten()).view(*items.shape, -1)
                parts.append(torch.baddbmm(bias[items][:, :, None], q, p[:, :, None])[:, :, 0])
        return torch.cat(parts)

    # Steps

    @torch.no_grad()
    def _pairwise_step(
        self, users_R: Tensor, positives_R: Tensor, negatives_RL: Tensor, sums: _Sums
    ) -> None:
        loss = self.config.loss
        assert not isinstance(loss, Bce)
        valid_RL = negatives_RL != PAD
        count = losses.sample_count(loss, valid_RL)
        items_RS = torch.cat([positives_R[:, None], negatives_RL.clamp(min=0)], 1)
        scale = 1.0 / count.clamp(min=1)
        width = items_RS.shape[1] * self.model.latent_factors
        size = max(1, self._chunk // width)
        for rows in torch.arange(len(users_R), device=self.device).split(size):
            valid = valid_RL[rows]
            quantile = None if self._quantile_U is None else self._quantile_U[users_R[rows]]

            def value(
                scores: Tensor, valid: Tensor = valid, quantile: Tensor | None = quantile
            ) -> Tensor:
                return losses.pair_sum(loss, scores[:, 0], scores[:, 1:], valid, quantile)

            weight = losses.participation(loss, valid) * scale
            user_weight = weight[:, 0]  # a user takes part as often as its positive
            sums.loss += self._gradients(
                users_R[rows], items_RS[rows], value, weight, user_weight, scale
            )
        sums.count += count
        self._optimizer.step()
        if self._cosine:
            self._to_unit_length(self.model.user_factors, users_R)
            self._to_unit_length(self.model.item_factors, items_RS.flatten())

    def _to_unit_length(self, table: Tensor, rows: Tensor) -> None:
        """Scale the rows that a step has moved back to length 1; rows of zeros stay."""
        if isinstance(self.config.optimizer, Adam):
            rows = torch.arange(len(table), device=self.device)
        table[rows] = torch.nn.functional.normalize(table[rows], dim=1)

    @torch.no_grad()
    def _pointwise_step(
        self, users_R: Tensor, items_R: Tensor, labels_R: Tensor, sums: _Sums
    ) -> None:
        scale = torch.full((), 1.0 / len(users_R), device=self.device)
        for rows in torch.arange(len(users_R), device=self.device).split(
            max(1, self._chunk // self.model.latent_factors)
        ):
            labels = labels_R[rows]

            def value(scores: Tensor, labels: Tensor = labels) -> Tensor:
                return losses.bce_sum(scores[:, 0], labels)

            weight = scale.expand(len(rows), 1)
            sums.loss += self._gradients(
                users_R[rows], items_R[rows][:, None], value, weight, weight[:, 0], scale
            )
        sums.count += len(users_R)
        self._optimizer.step()

    def _gradients(
        self,
        users_R: Tensor,
        items_RS: Tensor,
        value: losses.ScoreLoss,
        weight_RS: Tensor,
        user_weight_R: Tensor,
        scale: Tensor,
    ) -> Tensor:
        """Add the gradients of scale x value(scores) + l2 terms to the optimiser; returns the
        summed loss.

        Autograd sees only the scores: the products with the factors are written out, so that no
        gradient of a whole table is ever built.
        """
        model = self.model
        pointwise = isinstance(self.config.loss, Bce)
        flat = items_RS.flatten()
        p_Rd = model.user_factors.index_select(0, users_R)
        q_RSd = model.item_factors.index_select(0, flat).view(*items_RS.shape, -1)
        bias_RS = model.item_bias.detach()[items_RS]
        scores = torch.baddbmm(bias_RS[:, :, None], q_RSd, p_Rd[:, :, None])[:, :, 0]
        if pointwise:
            scores = scores + model.user_bias[users_R][:, None] + model.global_bias
        with torch.enable_grad():
            total = value(scores.requires_grad_())
            (slope_RS,) = torch.autograd.grad(total, scores)
        slope_RS = slope_RS * scale
        users_grad = torch.bmm(slope_RS[:, None, :], q_RSd)[:, 0]
        items_grad = slope_RS[:, :, None] * p_Rd[:, None, :]
        if self._cosine:  # less the part along a row of length 1, which turns no row
            users_grad = users_grad - (users_grad * p_Rd).sum(-1, keepdim=True) * p_Rd
            items_grad = items_grad - (items_grad * q_RSd).sum(-1, keepdim=True) * q_RSd
        bias_grad = slope_RS
        if self._l2:
            users_grad += self._l2 * user_weight_R[:, None] * p_Rd
            items_grad += self._l2 * weight_RS[:, :, None] * q_RSd
        if self._l2_bias:
            bias_grad = bias_grad + self._l2_bias * weight_RS * bias_RS
        add = self._optimizer.add
        add(USER_FACTORS, users_R, users_grad)
        add(ITEM_FACTORS, flat, items_grad.view(len(flat), -1))
        add(ITEM_BIAS, flat, bias_grad.flatten())
        if pointwise:
            add(USER_BIAS, users_R, slope_RS[:, 0])
            add(GLOBAL_BIAS, torch.zeros_like(users_R), slope_RS[:, 0])
        return total.detach()


class _Sums:
    """Loss and number of samples of an epoch, on the device: no batch waits for the host."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)
