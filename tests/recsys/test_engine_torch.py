"""TorchEngine against a slow twin: autograd through the whole model and torch's optimisers."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import recsys.models.mf.torch_engine as module
import recsys.models.mf.torch_optim as torch_optim
from recsys.interactions import CSR
from recsys.models.mf import losses
from recsys.models.mf.config import Adagrad, Bce, Sgd, TrainConfig
from recsys.models.mf.model import LFM
from recsys.models.mf.torch_engine import TorchEngine

U, I, D = 7, 11, 3


def small_csr(seed: int = 0) -> CSR:
    rng = np.random.default_rng(seed)
    mask = rng.random((U, I)) < 0.35
    mask[:, 0] = True
    users, items = np.nonzero(mask)
    return CSR.from_pairs(users, items, U, I)


def make(config: TrainConfig, train: CSR, seed: int = 1) -> tuple[LFM, TorchEngine]:
    rng = np.random.default_rng(seed)
    model = LFM(train.n_users, train.n_items, config.latent_factors, rng=rng, init_std=0.5)
    with torch.no_grad():
        model.item_bias.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
    return model, TorchEngine(model, train, config, rng=rng)


def flat(**changes: Any) -> TrainConfig:
    base: dict[str, Any] = {"latent_factors": D, "batch_size": 4, "optimizer": "sgd", "lr": 0.1}
    return TrainConfig.from_flat(base | changes)


def slow_replay(model: LFM, train: CSR, config: TrainConfig, rows: Any, negatives: Any) -> float:
    """Batches, one sample at a time, through `LFM.forward` and a dense torch optimiser."""
    own = config.optimizer
    l2, l2_bias = getattr(own, "l2", 0.0), getattr(own, "l2_bias", 0.0)
    pointwise = isinstance(config.loss, Bce)
    tables = [model.user_factors, model.item_factors, model.item_bias]
    if pointwise:
        tables += [model.user_bias, model.global_bias]
    if own.kind == "adam":
        optimizer: Any = torch.optim.Adam(tables, lr=own.lr, weight_decay=own.weight_decay)
    elif own.kind == "adagrad":
        optimizer = torch.optim.Adagrad(tables, lr=own.lr)
    else:
        optimizer = torch.optim.SGD(tables, lr=own.lr)
    samples: list[tuple[int, int, list[int] | float]] = []
    users = train.users()
    if pointwise:
        pool: list[tuple[int, int, list[int] | float]] = []
        pool += [(int(u), int(i), 1.0) for u, i in zip(users, train.indices, strict=True)]
        for user, line in enumerate(negatives):
            pool += [(user, int(j), 0.0) for j in line if j >= 0]
        samples = [pool[r] for r in rows]
    else:
        for r, line in zip(rows, negatives, strict=True):
            drawn = [int(j) for j in line if j >= 0]
            samples.append((int(users[r]), int(train.indices[r]), drawn))

    def decay(user: int, positive: int, others: list[int], share: float) -> torch.Tensor:
        p, q, b = model.user_factors, model.item_factors, model.item_bias
        value = 0.5 * l2 * (p[user].square().sum() + q[positive].square().sum())
        value = value + 0.5 * l2_bias * b[positive] ** 2
        for j in others:
            value = value + share * 0.5 * (l2 * q[j].square().sum() + l2_bias * b[j] ** 2)
        return value

    total, count = 0.0, 0
    for start in range(0, len(samples), config.batch_size):
        terms, penalties = [], []
        for user, item, third in samples[start : start + config.batch_size]:
            positive = model(torch.tensor(user), torch.tensor(item)).reshape(())
            if not isinstance(third, list):
                terms.append(losses.bce_sum(positive, torch.tensor(third)))
                penalties.append(decay(user, item, [], 0.0))
                continue
            scores = [model(torch.tensor(user), torch.tensor(j)).reshape(()) for j in third]
            if config.loss.kind == "bpr":
                for j, score in zip(third, scores, strict=True):
                    margin = config.loss.margin
                    terms.append(-torch.log(torch.sigmoid(positive - score - margin)))
                    penalties.append(decay(user, item, [j], 1.0))
            elif third:
                t = config.loss.temperature
                exps = torch.stack([positive, *scores]).div(t).exp()
                terms.append(-torch.log(exps[0] / exps.sum()))
                penalties.append(decay(user, item, third, 1 / len(third)))
        if not terms:
            continue
        loss = torch.stack(terms).mean() + torch.stack(penalties).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(sum(float(t.detach()) for t in terms))
        count += len(terms)
    return total / count


LOSSES: list[dict[str, Any]] = [
    {"loss": "bpr", "margin": 0.7, "neg_mode": "fixed", "neg_sample_num": 3},
    {"loss": "softmax", "temperature": 0.6, "neg_mode": "fixed", "neg_sample_num": 3},
    {"loss": "bce", "neg_mode": "fixed", "neg_sample_num": 3},
]
OPTIMIZERS: list[dict[str, Any]] = [
    {"optimizer": "adam", "lr": 0.05, "weight_decay": 0.01},
    {"optimizer": "adagrad", "lr": 0.1, "l2": 0.05, "l2_bias": 0.02},
    {"optimizer": "sgd", "lr": 0.1, "l2": 0.05, "l2_bias": 0.02},
]


def pass_over(whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Adagrad and SGD pass over tables of up to `whole` elements, as they do on a GPU."""
    by_rows = partial(torch_optim.TouchedRows, whole=whole)
    for kind in (Adagrad, Sgd):
        monkeypatch.setitem(torch_optim.OPTIMIZERS, kind, by_rows)


def given_draws(train: CSR, pointwise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows in a mixed order with uneven, partly missing negatives."""
    rng = np.random.default_rng(3)
    owners = np.arange(U) if pointwise else train.users()[rng.permutation(train.nnz)]
    rows = np.arange(U) if pointwise else None
    if rows is None:
        rng = np.random.default_rng(3)
        rows = rng.permutation(train.nnz)
    negatives = np.full((len(owners), 3), -1)
    for line, user in zip(negatives, owners, strict=True):
        free = np.setdiff1d(np.arange(I), train.row(user))
        size = min(rng.integers(0, 4), len(free))
        line[:size] = rng.permutation(free)[:size]
    if pointwise:
        rows = rng.permutation(train.nnz + int((negatives >= 0).sum()))
    return rows, negatives


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o["optimizer"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda o: o["loss"])
@pytest.mark.parametrize("chunk", [1 << 22, 8])
@pytest.mark.parametrize("whole", [0, 1000], ids=["touched", "whole"])
def test_replay_equals_the_slow_twin(
    loss: dict[str, Any],
    optimizer: dict[str, Any],
    chunk: int,
    whole: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    pass_over(whole, monkeypatch)
    config = flat(**loss, **optimizer)
    train = small_csr()
    model, engine = make(config, train)
    twin, _ = make(config, train)
    rows, negatives = given_draws(train, loss["loss"] == "bce")
    got = engine.replay(rows, negatives)
    want = slow_replay(twin, train, config, rows, negatives)
    assert got == pytest.approx(want, rel=1e-5)
    for (name, mine), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert_allclose(
            mine.detach().numpy(), theirs.detach().numpy(), rtol=3e-5, atol=3e-6, err_msg=name
        )


@pytest.mark.parametrize("whole", [0, 1000], ids=["touched", "whole"])
def test_adagrad_per_row_by_hand(whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pass_over(whole, monkeypatch)
    train = CSR.from_pairs(np.array([0]), np.array([0]), 1, 2)
    config = flat(optimizer="adagrad", adagrad_per="row", lr=0.1, batch_size=1)
    model, engine = make(config, train)
    p = model.user_factors.detach().numpy()[0].astype(float).copy()
    q = model.item_factors.detach().numpy().astype(float).copy()
    b = model.item_bias.detach().numpy().astype(float).copy()
    square_p = square_q = square_b = 0.0
    for _ in range(2):
        engine.replay([0], [[1]])
        slope = 1 / (1 + np.exp(p @ (q[0] - q[1]) + b[0] - b[1]))
        grad_p, grad_q = -slope * (q[0] - q[1]), -slope * p
        square_p += (grad_p**2).mean()
        square_q += (grad_q**2).mean()
        square_b += slope**2
        p = p - 0.1 * grad_p / (np.sqrt(square_p) + 1e-10)
        step = 0.1 * grad_q / (np.sqrt(square_q) + 1e-10)
        q = q + np.stack([-step, step])
        b = b + np.array([1, -1]) * 0.1 * slope / (np.sqrt(square_b) + 1e-10)
    assert_allclose(model.user_factors.detach().numpy()[0], p, rtol=1e-5)
    assert_allclose(model.item_factors.detach().numpy(), q, rtol=1e-5)
    assert_allclose(model.item_bias.detach().numpy(), b, rtol=1e-5)


def test_bpr_does_not_train_the_biases_that_cancel() -> None:
    model, engine = make(flat(optimizer="adam", weight_decay=0.1), small_csr())
    with torch.no_grad():
        model.user_bias.fill_(1.0)
        model.global_bias.fill_(2.0)
    engine.epoch()
    assert model.user_bias.tolist() == [1.0] * U
    assert model.global_bias.tolist() == [2.0]


MODES: list[dict[str, Any]] = [
    {"neg_mode": "even"},
    {"neg_mode": "fixed", "neg_sample_num": 4},
    {
        "neg_mode": "hard",
        "num_candidate_neg_samples": 6,
        "num_hard_neg_samples": 2,
        "num_random_neg_samples": 1,
    },
]


def every_combination() -> Iterator[dict[str, Any]]:
    for loss in ("bpr", "softmax", "bce"):
        for mode in MODES:
            if loss == "bce" and mode["neg_mode"] == "hard":
                continue
            for redraw in ("epoch", "once"):
                yield {"loss": loss, "redraw": redraw} | mode


@pytest.mark.parametrize("combination", list(every_combination()), ids=str)
def test_epochs_draw_only_what_is_free_and_count_right(
    combination: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((U, I), bool)
    mask[:, :3] = True
    mask[1, :] = True  # nothing free
    mask[2, :-2] = True  # two free
    users, items = np.nonzero(mask)
    train = CSR.from_pairs(users, items, U, I)
    free = I - train.degrees()
    seen_pairs: list[tuple[int, int, float]] = []

    def watch_pairs(self: Any, users: Any, positives: Any, negatives: Any, sums: Any) -> None:
        sums.count += int((negatives >= 0).sum())
        for u, i, line in zip(users.tolist(), positives.tolist(), negatives.tolist(), strict=True):
            real = [j for j in line if j >= 0]
            assert mask[u, i]
            assert len(set(real)) == len(real)
            seen_pairs.extend((u, j, 0.0) for j in real)

    def watch_points(self: Any, users: Any, items: Any, labels: Any, sums: Any) -> None:
        sums.count += len(users)
        seen_pairs.extend(zip(users.tolist(), items.tolist(), labels.tolist(), strict=True))

    monkeypatch.setattr(TorchEngine, "_pairwise_step", watch_pairs)
    monkeypatch.setattr(TorchEngine, "_pointwise_step", watch_points)
    _, engine = make(flat(**combination), train)
    engine.epoch()
    first = list(seen_pairs)
    negatives = [(u, j) for u, j, y in first if y == 0.0]
    assert all(not mask[u, j] for u, j in negatives)
    want = np.zeros(U, int)
    for u in range(U):
        if combination["loss"] == "bce":
            asked = 4 if combination["neg_mode"] == "fixed" else train.degrees()[u]
            want[u] = min(asked, free[u])
            assert sum(1 for v, _, y in first if v == u and y == 1.0) == (u != 1) * len(
                train.row(u)
            )
        else:
            asked = {"even": 1, "fixed": 4, "hard": 3}[combination["neg_mode"]]
            want[u] = min(asked, free[u]) * train.degrees()[u]
    counted = np.bincount([u for u, _ in negatives], minlength=U)
    assert counted.tolist() == want.tolist()
    seen_pairs.clear()
    engine.epoch()
    again = sorted(seen_pairs) == sorted(first)
    assert again == (combination["redraw"] == "once" and combination["neg_mode"] != "hard")
    assert seen_pairs != first


@pytest.mark.parametrize("dense", [0, 1000])
def test_candidate_scores_both_ways(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE", dense)
    model, engine = make(flat(), small_csr())
    users = torch.tensor([0, 3, 3])
    items = torch.tensor([[1, 5], [2, 2], [10, 0]])
    views = model.views()
    want = np.einsum("rd,rnd->rn", views.user_factors[users], views.item_factors[items])
    want = want + views.item_bias[items]
    assert_allclose(engine.candidate_scores(users, items).numpy(), want, rtol=1e-5, atol=1e-6)


def test_hard_draws_hold_the_hardest_then_others() -> None:
    train = small_csr()
    config = flat(
        neg_mode="hard",
        num_candidate_neg_samples=I,  # every free item is a candidate
        num_hard_neg_samples=2,
        num_random_neg_samples=2,
    )
    model, engine = make(config, train)
    users = torch.arange(U).repeat(200)
    drawn = engine.draw_hard(users).numpy()
    extras: dict[int, list[int]] = {u: [] for u in range(U)}
    for user, line in zip(users.tolist(), drawn, strict=True):
        scores = model.score_users(np.array([user]))[0].copy()
        scores[train.row(user)] = -np.inf
        assert line[:2].tolist() == np.argsort(-scores)[:2].tolist()
        assert len(set(line.tolist())) == 4
        assert all(np.isfinite(scores[line]))
        extras[user] += line[2:].tolist()
    for user, items in extras.items():
        others = I - len(train.row(user)) - 2
        expected = 200 * 2 / others
        counts = np.bincount(items, minlength=I)
        chi2 = ((counts[counts > 0] - expected) ** 2 / expected).sum()
        assert (counts > 0).sum() == others
        assert chi2 < 3 * others + 20


def test_negatives_exclude_all_also_spares_the_held_out() -> None:
    train = small_csr()
    held = np.argwhere(~np.isin(np.arange(U * I), train.users() * I + train.indices))[::2, 0]
    exclude = CSR.from_pairs(held // I, held % I, U, I)
    rng = np.random.default_rng(0)
    for mode, overlap in (("train", True), ("all", False)):
        config = flat(negatives_exclude=mode)
        engine = TorchEngine(LFM(U, I, D, rng=rng), train, config, rng=rng, exclude=exclude)
        drawn = engine.sampler.draw(torch.arange(U).repeat(50), 1)[:, 0].numpy()
        owners = np.tile(np.arange(U), 50)
        real = drawn >= 0
        hits = np.isin(owners[real] * I + drawn[real], held)
        assert hits.any() == overlap


def test_same_seed_same_weights_and_other_seed_other_weights() -> None:
    config = flat(**MODES[2], optimizer="adagrad")
    results = []
    for seed in (1, 1, 2):
        rng = np.random.default_rng(7)
        model = LFM(U, I, D, rng=rng)
        engine = TorchEngine(model, small_csr(), config, rng=np.random.default_rng(seed))
        results.append((engine.epoch(), engine.epoch(), model.item_factors.detach().numpy()))
    assert results[0][:2] == results[1][:2]
    assert np.array_equal(results[0][2], results[1][2])
    assert not np.array_equal(results[0][2], results[2][2])


def test_nbytes_counts_what_grows_with_the_model() -> None:
    _, engine = make(flat(), small_csr())
    _, wide = make(flat(latent_factors=4 * D), small_csr())
    # one buffer of gradients a table, as float32
    assert wide.nbytes - engine.nbytes == 4 * 3 * D * (U + I)
    assert engine.nbytes > 0
