"""The compiled engine, for CPUs. Shapes: U users, I items, R rows, L negatives of a row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.errors import DivergedError
from recsys.interactions import CSR
from recsys.models.mf.config import (
    QUANTILE_ITEMS,
    QUANTILE_PARTS,
    Even,
    Fixed,
    SoftmaxAtK,
    TrainConfig,
)
from recsys.models.mf.kernels.batch import (
    Gradients,
    add_batch,
    merge,
    new_gradients,
    step_adam,
    train_batches,
)
from recsys.models.mf.kernels.online import train_pairs
from recsys.models.mf.kernels.optim import STEP_ARMS, new_state
from recsys.models.mf.kernels.plan import (
    ADAM,
    BCE,
    BPR,
    COSINE,
    DOT,
    GIVEN,
    SGD,
    UNIFORM,
    Plan,
    kept_negatives,
    make_hyper,
    make_plan,
)
from recsys.models.mf.kernels.pointwise import draw_labelled, train_points
from recsys.models.mf.kernels.quantile import top_quantiles
from recsys.models.mf.kernels.rows import MODE_ARMS, PAIR_ARMS, Scratch, new_scratch, per_pair
from recsys.models.mf.kernels.shuffle import AHEAD, shuffle_rows
from recsys.models.mf.kernels.single import train_singles
from recsys.models.mf.model import LFM
from recsys.models.mf.sampling import make_pool, pool_bytes, sample_uniform

# Rows of one compiled call: Ctrl-C never waits for more than that.
CHUNK = 1 << 18
# How many times per epoch the threads wait for each other, where each has positives of its own.
SLICES = 8


class NumbaEngine:
    """Trains `model`, on the CPU, in place. "Semantics that both engines share" in
    docs/architecture.md says what an epoch does.

    train: CSR of U x I. rng: seeds the generator of each thread, and draws the negatives that are
    drawn once. exclude: CSR of U x I, kept out of the negatives with `negatives_exclude: all`.
    threads: with one, the same seed gives the same weights, bit for bit. With several, each trains
    its own part of the shuffled rows on the shared weights, without locks (Hogwild, Recht et al.
    2011); with Adam, they share each batch instead. Raises TypeError for a config that has no
    kernel.
    """

    def __init__(
        self,
        model: LFM,
        train: CSR,
        config: TrainConfig,
        *,
        rng: np.random.Generator,
        exclude: CSR | None = None,
        threads: int = 1,
    ) -> None:
        assert threads > 0
        assert (model.n_users, model.n_items) == (train.n_users, train.n_items)
        self.train, self.config, self.threads = train, config, threads
        if config.cosine:
            model.to_unit_length(train)
        self.weights = model.views()
        self._epochs = self._drawn = 0
        excluded = train
        if config.excludes_held_out and exclude is not None:
            excluded = train.union(exclude)
        self.pool = make_pool(excluded)
        self.plan = make_plan(config, train.n_items)
        _check_arms(self.plan)
        self.hyper = make_hyper(config)
        self._state = new_state(self.weights, self.plan.optimizer)
        self._counts = self._labels_asked() if self.plan.loss == BCE else np.zeros(0, np.int64)
        self._asked = np.zeros(int(self._counts.max(initial=0)), np.int32)
        self._rows, self._given = self._first_rows(excluded, rng)
        if config.draws_once and self.plan.mode == UNIFORM:
            self.plan = self.plan._replace(mode=GIVEN)
        self._bounds = self._parts()
        self._partners = np.zeros((threads, AHEAD), np.int64)
        self._estimators = self._quantile_memory(rng)  # seeded before the threads, however many
        self._threads = self._memory(rng, threads, self._given.shape[1])
        self._gradients = self._buffers(threads, self._given.shape[1])
        self._workers = ThreadPoolExecutor(threads) if threads > 1 else None

    def epoch(self) -> float:
        """One pass over the training data in a new order; returns the mean loss per sample.

        Raises DivergedError when the loss or a weight is NaN or infinite.
        """
        self._epochs += 1
        self._estimate_quantiles()
        rows = self._rows
        if self.plan.loss == BCE and (not self.config.draws_once or self._epochs == 1):
            self._drawn = self._draw_labelled(self._threads[0])
        if self.plan.loss == BCE:
            rows = rows[: self._drawn]
        total, samples = self._pass(rows)
        mean = total / max(samples, 1)
        if not (math.isfinite(mean) and all(np.isfinite(weight).all() for weight in self.weights)):
            raise DivergedError(self._epochs, self.config.key())
        return mean

    def replay(self, rows: ArrayLike, negatives: ArrayLike) -> float:
        """Train on the given draws in the given order, in the config's batches; returns the mean
        loss. Tests compare the engines by it.

        BPR and softmax: rows is int (R,), positions in the `indices` of the training CSR; negatives
        is int (R, L), padded with -1, distinct within a row. BCE: negatives is int (U, L), those of
        each user, padded with -1; rows are positions in the list of all training positives followed
        by all real negatives, by user.
        """
        picked = np.asarray(rows, np.int64)
        drawn = np.array(negatives, np.int32, order="C")
        users, items = self.train.users(), self.train.indices
        if self.plan.loss == BCE:
            negative_users, column = np.nonzero(drawn >= 0)
            users = np.concatenate([users, negative_users.astype(np.int32)])
            items = np.concatenate([items, ~drawn[negative_users, column]])
            drawn = np.zeros((0, 0), np.int32)
        self._estimate_quantiles()
        pairs = np.ascontiguousarray(np.stack([users[picked], items[picked]], 1))
        plan, width = self.plan._replace(mode=GIVEN), drawn.shape[1]
        scratch = self._memory(np.random.default_rng(0), 1, width)[0]
        gradients = self._buffers(1, width)[0]
        total, samples = self._part(pairs, drawn, 0, len(pairs), plan, scratch, gradients)
        return total / max(samples, 1)

    def _changing(self) -> Iterator[NDArray]:
        """The weights, the optimiser's state, the order of the rows, generators and buffers."""
        yield from _arrays([self.weights, self._state, self._rows, self._given, self._asked])
        yield from _arrays([self._partners, self._threads, self._gradients])
        yield from (estimator.state for estimator in self._estimators)

    @property
    def state_bytes(self) -> int:
        """The size of `state`, in bytes."""
        return sum(array.nbytes for array in self._changing())

    def state(self) -> list[NDArray]:
        """The numbers of epochs and of labelled rows, and a copy of every array that changes."""
        counts = np.array([self._epochs, self._drawn])
        return [counts, *(array.copy() for array in self._changing())]

    def restore(self, state: Sequence[NDArray]) -> None:
        """Copy back a `state` of an engine with the same config, data and threads."""
        counts, *arrays = state
        self._epochs, self._drawn = map(int, counts)
        for mine, theirs in zip(self._changing(), arrays, strict=True):
            mine[...] = theirs

    @property
    def nbytes(self) -> int:
        """The memory held besides the model and the training data, in bytes."""
        held = [self._state, self._rows, self._given, self._counts, self._asked]
        held += [self._threads, self._gradients, self._estimators, self.hyper.quantiles]
        return pool_bytes(self.pool, self.train) + sum(array.nbytes for array in _arrays(held))

    # Preparation

    def _labels_asked(self) -> NDArray[np.int64]:
        """BCE's negatives of each user, int64 (U,); a user without positives takes no part."""
        degrees = self.train.degrees()
        match self.config.negatives:
            case Fixed(count=count):
                return np.where(degrees > 0, min(count, self.train.n_items), 0)
            case Even():
                return degrees
        raise TypeError(f"neg_mode {self.config.negatives.mode} has no negatives of a user")

    def _first_rows(
        self, excluded: CSR, rng: np.random.Generator
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Rows int32 (R, 2) and their given negatives int32 (R, L), L = 0 if drawn later."""
        free = self.train.n_items - excluded.degrees()
        if self.plan.loss == BCE:
            most = self.train.nnz + int(np.minimum(self._counts, free).sum())
            return np.zeros((most, 2), np.int32), np.zeros((0, 0), np.int32)
        users = self.train.users()
        usable = free[users] > 0
        rows = np.stack([users[usable], self.train.indices[usable]], 1)
        if not self.config.draws_once or self.plan.mode != UNIFORM:
            return np.ascontiguousarray(rows), np.zeros((0, 0), np.int32)
        given = sample_uniform(self.pool, rows[:, 0], self.plan.candidates, rng)
        triples = per_pair.py_func(self.plan.loss)  # type: ignore[attr-defined]
        if triples:  # the report shuffles these, not positives
            real = given >= 0
            rows, given = np.repeat(rows, real.sum(axis=1), axis=0), given[real][:, None]
        return np.ascontiguousarray(rows), np.ascontiguousarray(given)

    def _parts(self) -> list[int] | None:
        """The bounds of each thread's own rows, for all epochs; None if each epoch deals them out.

        Rows are sorted by positive first. So the weights of a popular item stay in the cache of one
        core, instead of moving between cores with each of its rows. Users and negatives are spread
        over the threads at random, as without this.
        """
        if self.threads == 1 or self.plan.optimizer == ADAM or self.plan.loss == BCE:
            return None
        order = np.argsort(self._rows[:, 1], kind="stable")
        self._rows = np.ascontiguousarray(self._rows[order])
        if self._given.shape[1]:
            self._given = np.ascontiguousarray(self._given[order])
        return _even(0, len(self._rows), self.threads)

    def _memory(self, rng: np.random.Generator, count: int, given: int) -> list[Scratch]:
        n_items, factors = self.weights.item_factors.shape
        most = len(self._asked)
        return new_scratch(rng, count, self.plan, n_items, factors, given=given, most=most)

    def _quantile_memory(self, rng: np.random.Generator) -> list[Scratch]:
        """What estimates the quantiles of each part of the users; sets their array in `hyper`."""
        loss = self.config.loss
        if not isinstance(loss, SoftmaxAtK):
            return []
        n_items, factors = self.weights.item_factors.shape
        self.hyper = self.hyper._replace(quantiles=np.zeros(self.train.n_users, np.float32))
        plan = _quantile_plan(n_items)
        room = plan.candidates + min(int(self.train.degrees().max(initial=0)), loss.top_k)
        return new_scratch(rng, QUANTILE_PARTS, plan, n_items, factors, given=room)

    def _buffers(self, count: int, given: int) -> list[Gradients | None]:
        if self._online:
            return [None] * count
        n_users, factors = self.weights.user_factors.shape
        n_items = len(self.weights.item_factors)
        kept = kept_negatives(self.plan, given)
        batch = min(self.config.batch_size, max(n_users, n_items) + len(self._rows))
        return [new_gradients(n_users, n_items, factors, batch, 1 + kept) for _ in range(count)]

    @property
    def _online(self) -> bool:
        return self.config.batch_size == 1 and self.plan.optimizer != ADAM

    def _draw_labelled(self, scratch: Scratch) -> int:
        indptr, indices = self.train.indptr, self.train.indices
        return draw_labelled(
            self.pool, indptr, indices, self._counts, self._rows, self._asked, scratch
        )

    # Passes

    def _estimate_quantiles(self) -> None:
        """The Top-K quantile of each user with the weights as they are, for SL@K."""
        if not self._estimators:
            return
        assert isinstance(self.config.loss, SoftmaxAtK)
        train, weights, places = self.train, self.weights, self.config.loss.top_k
        plan, bounds = _quantile_plan(train.n_items), _even(0, train.n_users, QUANTILE_PARTS)

        def of_part(part: int) -> None:
            low, high, memory = bounds[part], bounds[part + 1], self._estimators[part]
            top_quantiles(
                *(weights, self.pool, train.indptr, train.indices, low, high, plan, places),
                *(memory, self.hyper.quantiles),
            )

        run = map if self._workers is None else self._workers.map
        list(run(of_part, range(QUANTILE_PARTS)))

    def _pass(self, rows: NDArray[np.int32]) -> tuple[float, int]:
        if self._bounds is None:
            self._shuffle(0, rows, 0, len(rows))
        if self._workers is None:
            return self._own_part(0, rows, 0, len(rows))
        if self.plan.optimizer == ADAM:
            return self._shared_batches(rows)
        run, threads = self._workers.map, range(self.threads)
        bounds, count = _even(0, len(rows), self.threads), 1
        if self._bounds is not None:
            bounds, count = self._bounds, SLICES
            list(run(self._shuffle, threads, repeat(rows), bounds[:-1], bounds[1:]))
        # A thread that shares its core with other programs falls behind. Without these waits, only
        # the items it owns would be trained at the end of an epoch.
        unit = self.config.batch_size
        slices = [_even(low, high, count, unit) for low, high in pairwise(bounds)]
        done: list[tuple[float, int]] = []
        for lows, highs in pairwise(zip(*slices, strict=True)):
            done += run(self._own_part, threads, repeat(rows), lows, highs)
        totals, samples = zip(*done, strict=True)
        return sum(totals), sum(samples)

    def _shuffle(self, thread: int, rows: NDArray[np.int32], low: int, high: int) -> None:
        given = self._given[low:high] if len(self._given) else self._given
        shuffle_rows(rows[low:high], given, self._partners[thread], self._threads[thread].state)

    def _own_part(
        self, thread: int, rows: NDArray[np.int32], low: int, high: int
    ) -> tuple[float, int]:
        memory, buffers = self._threads[thread], self._gradients[thread]
        return self._part(rows, self._given, low, high, self.plan, memory, buffers)

    def _part(
        self,
        rows: NDArray[np.int32],
        given: NDArray[np.int32],
        low: int,
        high: int,
        plan: Plan,
        scratch: Scratch,
        gradients: Gradients | None,
    ) -> tuple[float, int]:
        """Train on rows[low:high] in one thread; (sum of losses, samples)."""
        weights, state, pool, hyper = self.weights, self._state, self.pool, self.hyper
        size = self.config.batch_size
        stride = max(CHUNK // size, 1) * size
        total, samples = 0.0, 0
        for start in range(low, high, stride):
            end = min(start + stride, high)
            if not self._online:
                part = train_batches(
                    *(weights, state, pool, rows, given, start, end, size),
                    *(plan, hyper, scratch, gradients),
                )
            elif plan.loss == BCE:
                part = train_points(weights, state, rows, start, end, plan, hyper, scratch)
            elif plan.mode == UNIFORM and plan.candidates == 1 and plan.loss == BPR:
                part = train_singles(weights, state, pool, rows, start, end, plan, hyper, scratch)
            else:
                part = train_pairs(
                    weights, state, pool, rows, given, start, end, plan, hyper, scratch
                )
            total += part[0]
            samples += part[1]
        return total, samples

    def _shared_batches(self, rows: NDArray[np.int32]) -> tuple[float, int]:
        """Adam with several threads: each adds up its part of a batch, then moves its part of the
        tables.
        """
        assert self._workers is not None
        threads, run = range(self.threads), self._workers.map
        weights, state, pool, plan, hyper = (
            self.weights,
            self._state,
            self.pool,
            self.plan,
            self.hyper,
        )
        total, samples = 0.0, 0
        into = self._gradients[0]
        for start in range(0, len(rows), self.config.batch_size):
            size = min(self.config.batch_size, len(rows) - start)
            bounds = _even(start, start + size, self.threads)

            def add(t: int, bounds: list[int] = bounds) -> tuple[float, int]:
                return add_batch(
                    weights,
                    pool,
                    rows,
                    self._given,
                    bounds[t],
                    bounds[t + 1],
                    plan,
                    hyper,
                    self._threads[t],
                    self._gradients[t],
                )

            parts = list(run(add, threads))
            count = sum(part[1] for part in parts)
            total += sum(part[0] for part in parts)
            samples += count
            for other in self._gradients[1:]:
                merge(into, other)
            state.steps[0] += 1

            def step(t: int, count: int = count) -> None:
                step_adam(weights, state, count, plan, hyper, into, t, self.threads)

            list(run(step, threads))
        return total, samples


# The values of each part of a plan for which the kernels have a branch. Their last branch takes
# whatever is left, as a check there would be one more branch in an inner loop.
_ARMS = {
    "loss": (*PAIR_ARMS, BCE),
    "optimizer": (*STEP_ARMS, ADAM),
    "mode": MODE_ARMS,
    "score": (DOT, COSINE),
}


def _quantile_plan(n_items: int) -> Plan:
    """The draws from which a user's quantile is estimated."""
    return Plan(BPR, SGD, UNIFORM, min(QUANTILE_ITEMS, n_items), 0, 0)


def _check_arms(plan: Plan) -> None:
    """Raise TypeError for a number that a kernel would mistake for another one."""
    for part, arms in _ARMS.items():
        if (number := getattr(plan, part)) not in arms:
            raise TypeError(f"{part} {number} has no arm in the kernels")


def _even(low: int, high: int, parts: int, unit: int = 1) -> list[int]:
    """The bounds of `parts` even parts of low:high; all but the last consist of whole units."""
    inner = [low + (high - low) * part // parts // unit * unit for part in range(parts)]
    return [*inner, high]


def _arrays(value: Any) -> Iterator[NDArray]:
    """The arrays in nested tuples and lists."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _arrays(part)
