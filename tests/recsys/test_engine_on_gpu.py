"""The torch engine on a GPU is the torch engine on the CPU. Without a GPU nothing of this runs."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.fit import fit
from recsys.models.mf.model import LFM
from recsys.models.mf.torch_engine import TorchEngine

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

HARD = {
    "neg_mode": "hard",
    "num_candidate_neg_samples": 12,
    "num_hard_neg_samples": 3,
    "num_random_neg_samples": 2,
}
LENGTHS = ("l2", "l2_bias", "weight_decay")
LOSSES: list[dict[str, Any]] = [
    {"loss": "bpr", "margin": 0.7, "neg_mode": "fixed", "neg_sample_num": 3},
    {"loss": "softmax", "temperature": 0.6, "neg_mode": "fixed", "neg_sample_num": 3},
    {"loss": "softmax", "score": "cosine", "neg_mode": "fixed", "neg_sample_num": 3},
    {"loss": "softmax_at_k", "top_k": 4, "neg_mode": "fixed", "neg_sample_num": 3},
    {"loss": "bce", "neg_mode": "fixed", "neg_sample_num": 3},
]
OPTIMIZERS: list[dict[str, Any]] = [
    {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.01},
    {"optimizer": "adagrad", "lr": 0.05, "l2": 0.05, "l2_bias": 0.02},
    {"optimizer": "adagrad", "adagrad_per": "row", "lr": 0.05},
    {"optimizer": "sgd", "lr": 0.05, "l2": 0.05, "l2_bias": 0.02},
]


def some_pairs(n_users: int = 40, n_items: int = 60, share: float = 0.3) -> CSR:
    users, items = np.nonzero(np.random.default_rng(0).random((n_users, n_items)) < share)
    return CSR.from_pairs(users, items, n_users, n_items)


def tastes(rng: np.random.Generator) -> tuple[CSR, CSR]:
    """Users of four groups, each with items of its own; one pair of each user is held out."""
    users = np.repeat(np.arange(200), 16)
    items = (users % 4) * 30 + np.concatenate([rng.permutation(30)[:16] for _ in range(200)])
    held = np.arange(len(users)) % 16 == 0
    whole = CSR.from_pairs(users[~held], items[~held], 200, 120)
    return whole, CSR.from_pairs(users[held], items[held], 200, 120)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("loss", LOSSES, ids=lambda o: "-".join(map(str, o.values())))
def test_the_same_draws_give_the_same_weights(
    loss: dict[str, Any], optimizer: dict[str, Any]
) -> None:
    train = some_pairs()
    if "score" in loss:  # whose factors keep their length
        optimizer = {name: v for name, v in optimizer.items() if name not in LENGTHS}
    config = TrainConfig.from_flat({"latent_factors": 8, "batch_size": 64} | loss | optimizer)
    rng = np.random.default_rng(2)
    pointwise = loss["loss"] == "bce"
    owners = np.arange(train.n_users) if pointwise else train.users()
    free = [np.setdiff1d(np.arange(train.n_items), train.row(u)) for u in range(train.n_users)]
    negatives = np.stack([rng.permutation(free[user])[:3] for user in owners])
    order = rng.permutation(train.nnz + (negatives.size if pointwise else 0))
    if not pointwise:
        negatives = negatives[order]
    weights, means = [], []
    for device in ("cpu", "cuda"):
        seeded = np.random.default_rng(1)
        model = LFM(train.n_users, train.n_items, 8, rng=seeded, init_std=0.4)
        engine = TorchEngine(model, train, config, rng=seeded, device=device)
        means.append([engine.replay(order, negatives) for _ in range(2)])
        weights.append([w.detach().cpu().numpy() for w in model.parameters()])
    assert means[0] == pytest.approx(means[1], rel=1e-4)
    for mine, theirs in zip(*weights, strict=True):
        assert_allclose(mine, theirs, rtol=2e-3, atol=2e-4)


def test_hard_negatives_are_the_hardest_of_free_items() -> None:
    train = some_pairs()
    config = TrainConfig.from_flat({"latent_factors": 8, "batch_size": 64, "lr": 0.1} | HARD)
    rng = np.random.default_rng(1)
    model = LFM(train.n_users, train.n_items, 8, rng=rng, init_std=1.0)
    engine = TorchEngine(model, train, config, rng=rng, device="cuda")
    users = np.repeat(np.arange(train.n_users), 50)
    drawn = engine.draw_hard(torch.from_numpy(users).to("cuda")).cpu().numpy()
    scores = model.score_users(np.arange(train.n_users))
    for user, row in zip(users, drawn, strict=True):
        assert len(set(row)) == len(row)
        assert not np.isin(row, train.row(user)).any()
        assert (np.diff(scores[user][row[:3]]) <= 1e-5).all()


@pytest.mark.parametrize("how", [*LOSSES, HARD], ids=lambda o: "-".join(map(str, o.values())))
def test_training_finds_the_tastes_and_comes_home(how: dict[str, Any]) -> None:
    train, held_out = tastes(np.random.default_rng(3))
    flat = {"latent_factors": 16, "batch_size": 128, "epochs": 12, "patience": 0}
    config = TrainConfig.from_flat(flat | {"optimizer": "adagrad", "lr": 0.1} | how)
    values = {}
    for device in ("cpu", "cuda"):
        rng = np.random.default_rng(4)
        found = fit(
            train, held_out, config, rng=rng, metric="ndcg@20", device=device, engine="torch"
        )
        assert found.model.device.type == "cpu"
        values[device] = found.history[-1].best_value
        best = found.history[found.best_epoch - 1].metrics["ndcg@20"]
        again = evaluate(found.model, train, held_out, ["ndcg@20"]).values["ndcg@20"]
        assert again == pytest.approx(best, abs=1e-6)
    assert values["cuda"] == pytest.approx(values["cpu"], abs=0.05)


def test_ranking_on_the_device_is_ranking_on_the_host() -> None:
    train, held_out = tastes(np.random.default_rng(5))
    model = LFM(train.n_users, train.n_items, 16, rng=np.random.default_rng(6), init_std=1.0)
    host = evaluate(model, train, held_out, ["ndcg@20", "map@50"])
    device = evaluate(model.to("cuda"), train, held_out, ["ndcg@20", "map@50"])
    assert device.values == pytest.approx(host.values, abs=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_training_continues_from_a_checkpoint(optimizer: dict[str, Any]) -> None:
    """Its state is that of the checkpoint, and what follows differs by rounding at most."""
    train = some_pairs()
    flat = {"latent_factors": 6, "batch_size": 64, "epochs": 1, **LOSSES[0], **optimizer}
    config = TrainConfig.from_flat(
        {name: flat[name] for name in flat if name != "lr"} | {"lr": 0.05}
    )

    def engine() -> TorchEngine:
        rng = np.random.default_rng(3)
        model = LFM(train.n_users, train.n_items, 6, rng=rng)
        return TorchEngine(model, train, config, rng=rng, device="cuda")

    whole = engine()
    for _ in range(3):
        whole.epoch()
    state = whole.state()
    assert whole.state_bytes <= sum(array.nbytes for array in state)
    again = engine()
    again.restore(state)
    for mine, theirs in zip(again.state(), state, strict=True):
        assert mine.tobytes() == theirs.tobytes()
    assert again.epoch() == pytest.approx(whole.epoch(), rel=1e-4)
    for mine, theirs in zip(again.state()[2:], whole.state()[2:], strict=True):
        assert_allclose(mine, theirs, rtol=1e-3, atol=1e-5)
