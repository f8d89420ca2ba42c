"""The compiled engine as a whole: reproducible, threaded, learning, and loud when it diverges."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import types

from recsys.errors import ConfigError, DivergedError
from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.kernels import jit
from recsys.models.mf import numba_engine as engine_numba
from recsys.models.mf.arrays import aligned_zeros
from recsys.models.mf.engine import make_engine as dispatch
from recsys.models.mf.kernels import batch, draw, online, pointwise, quantile, shuffle, single
from recsys.models.mf.model import LFM
from recsys.models.mf.numba_engine import NumbaEngine
from recsys.models.mf.warm_up import warm_up
from recsys.safe_files import ONLY_TEMPORARY
from tests.kernels.helpers import (
    FIXED,
    HARD,
    make_config,
    make_engine,
    make_model,
    random_csr,
    weights_of,
)

ROOT = Path(__file__).resolve().parents[2]

KINDS: dict[str, dict[str, Any]] = {
    "hard": HARD,
    "hard batch": {**HARD, "batch_size": 16},
    "hard adam": {**HARD, "batch_size": 16, "optimizer": "adam", "lr": 0.02},
    "hard softmax": {**HARD, "loss": "softmax", "lr": 0.1},
    "even": {},
    "even once": {"redraw": "once"},
    "fixed once adam": {**FIXED, "redraw": "once", "optimizer": "adam", "batch_size": 16},
    "softmax row": {**FIXED, "loss": "softmax", "adagrad_per": "row", "lr": 0.1},
    "softmax once": {**FIXED, "loss": "softmax", "redraw": "once", "lr": 0.1},
    "softmax at k": {**FIXED, "loss": "softmax_at_k", "top_k": 10, "lr": 0.1},
    "cosine": {**FIXED, "loss": "softmax", "score": "cosine", "temperature": 0.3, "lr": 0.2},
    "sgd": {"optimizer": "sgd", "lr": 0.2},
    "bce": {"loss": "bce"},
    "bce once": {"loss": "bce", "neg_mode": "fixed", "neg_sample_num": 20, "redraw": "once"},
    "bce adam": {"loss": "bce", "optimizer": "adam", "batch_size": 16},
}


def planted(groups: int = 5, users: int = 20, items: int = 16) -> tuple[CSR, CSR]:
    """Users of a group take 8 of its items at random; of those, 2 are held out."""
    rng = np.random.default_rng(0)
    pairs = [
        (g * users + u, g * items + i, k < 2)
        for g in range(groups)
        for u in range(users)
        for k, i in enumerate(rng.permutation(items)[:8])
    ]
    who, what, held = map(np.array, zip(*pairs, strict=True))
    shape = groups * users, groups * items
    return (
        CSR.from_pairs(who[~held], what[~held], *shape),
        CSR.from_pairs(who[held], what[held], *shape),
    )


def learn(kind: dict[str, Any], threads: int, epochs: int = 15) -> float:
    train, held_out = planted()
    config = make_config(**{"latent_factors": 8, "lr": 0.05, **kind})
    model = LFM(train.n_users, train.n_items, 8, rng=np.random.default_rng(0), init_std=0.1)
    engine = make_engine(train, model, config, threads=threads)
    for _ in range(epochs):
        engine.epoch()
    return evaluate(model, train, held_out, ["map@10"]).values["map@10"]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_planted_groups_are_learned(kind: str, threads: int) -> None:
    """A user's 2 held-out items are among the 10 unseen ones of the group, of 74 unseen in all."""
    train, held_out = planted()
    popular = LFM(train.n_users, train.n_items, 1, rng=np.random.default_rng(0), init_std=1e-9)
    popular.item_bias.data[:] = torch.from_numpy(train.item_counts().astype(np.float32))
    popularity = evaluate(popular, train, held_out, ["map@10"]).values["map@10"]
    assert learn(KINDS[kind], threads) > 0.17 > 2 * popularity


@pytest.mark.parametrize("kind", KINDS)
def test_one_thread_is_bit_reproducible(kind: str) -> None:
    csr = random_csr(30, 50, 6)
    runs = []
    for seed in (2, 2, 3):
        model = make_model(csr)
        engine = make_engine(
            csr, model, make_config(**KINDS[kind]), rng=np.random.default_rng(seed)
        )
        losses = [engine.epoch() for _ in range(3)]
        runs.append((losses, weights_of(model)))
    assert runs[0][0] == runs[1][0] != runs[2][0]
    for name, weights in runs[0][1].items():
        assert (weights == runs[1][1][name]).all()


@pytest.mark.parametrize("kind", ["fixed once adam", "bce adam"])
def test_threads_that_share_batches_train_the_same(kind: str) -> None:
    """With Adam the split of a batch over threads changes rounding only."""
    csr = random_csr(30, 50, 6)
    results = []
    for threads in (1, 2, 3):
        model = make_model(csr)
        engine = make_engine(csr, model, make_config(**KINDS[kind]), threads=threads)
        loss = [engine.epoch() for _ in range(3)]
        results.append((loss, weights_of(model)))
    for loss, weights in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-4)
        for name, want in results[0][1].items():
            np.testing.assert_allclose(weights[name], want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [1, 4])
def test_hard_training_is_a_replay_of_the_hardest(size: int) -> None:
    """With every free item a candidate, a plain twin knows the M hardest of each row."""
    csr = random_csr(8, 20, 5)
    config = make_config(
        neg_mode="hard", num_candidate_neg_samples=20, num_hard_neg_samples=3, batch_size=size
    )
    mine, twin = make_model(csr), make_model(csr)
    engine, plain = make_engine(csr, mine, config), make_engine(csr, twin, config)
    engine.epoch()
    position = {(u, i): k for k, (u, i) in enumerate(zip(csr.users(), csr.indices, strict=True))}
    order = [(int(u), int(i)) for u, i in engine._rows]  # as the epoch shuffled them
    assert sorted(order) == sorted(position)
    views = twin.views()
    for start in range(0, len(order), size):
        part, hardest = order[start : start + size], []
        for user, _ in part:
            free = np.setdiff1d(np.arange(20), csr.row(user))
            scores = views.item_bias[free] + views.item_factors[free] @ views.user_factors[user]
            hardest.append(free[np.argsort(-scores)[:3]])
        plain.replay([position[pair] for pair in part], np.array(hardest))
    for name, weights in weights_of(mine).items():
        np.testing.assert_allclose(weights, weights_of(twin)[name], rtol=1e-5, atol=1e-6)


def test_user_and_global_bias_are_trained_under_bce_only() -> None:
    csr = random_csr(30, 50, 6)
    for kind, flat in KINDS.items():
        model = make_model(csr)
        before = weights_of(model)
        make_engine(csr, model, make_config(**flat)).epoch()
        after = weights_of(model)
        for name in ("user_bias", "global_bias"):
            assert (before[name] != after[name]).any() == kind.startswith("bce")


@pytest.mark.parametrize("kind", KINDS)
def test_excluded_items_are_never_negatives(kind: str) -> None:
    """Item biases start at 0 and are pulled up by positives and down by negatives only: an item
    that nobody has and everybody excludes keeps its 0."""
    csr = CSR.from_pairs([0, 0, 1, 2], [0, 1, 2, 0], 4, 30)
    held_out = CSR.from_pairs(np.repeat(np.arange(4), 25), np.tile(np.arange(5, 30), 4), 4, 30)
    for exclude, untouched in (("all", True), ("train", False)):
        model = LFM(4, 30, 5, rng=np.random.default_rng(0))
        config = make_config(**{**KINDS[kind], "negatives_exclude": exclude})
        engine = make_engine(csr, model, config, exclude=held_out)
        for _ in range(20):
            engine.epoch()
        assert (model.item_bias.detach().numpy()[5:] == 0).all() == untouched


@pytest.mark.parametrize("kind", KINDS)
def test_users_without_a_free_item_contribute_nothing(kind: str) -> None:
    full = CSR.from_pairs([0, 0, 0, 1], [0, 1, 2, 0], 3, 3)
    model = make_model(full)
    decay = {} if "adam" in kind or kind == "cosine" else {"l2": 0.1}
    engine = make_engine(full, model, make_config(**KINDS[kind], **decay))
    before = weights_of(model)
    engine.epoch()
    after = weights_of(model)
    if "adam" not in kind:
        assert (before["user_factors"][0] == after["user_factors"][0]).all()
    assert (before["user_factors"][1] != after["user_factors"][1]).any()
    nobody = CSR.from_pairs([0, 0, 0], [0, 1, 2], 1, 3)
    assert make_engine(nobody, make_model(nobody), make_config(**KINDS[kind])).epoch() == 0.0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["hard", "hard batch", "sgd", "bce"])
def test_an_absurd_learning_rate_is_named(kind: str, threads: int) -> None:
    csr = random_csr(30, 50, 6)
    config = make_config(**{**KINDS[kind], "optimizer": "sgd", "lr": 10.0, "l2": 10.0})
    engine = make_engine(csr, make_model(csr), config, threads=threads)
    with pytest.raises(DivergedError) as caught:
        for _ in range(60):
            engine.epoch()
    assert caught.value.config == config.key()
    assert 1 <= caught.value.epoch <= 60


def test_negatives_drawn_once_stay() -> None:
    csr = random_csr(30, 50, 6)
    for flat in (KINDS["even once"], KINDS["softmax once"], KINDS["bce once"]):
        engine = make_engine(csr, make_model(csr), make_config(**flat))
        seen = []
        for _ in range(2):
            engine.epoch()
            given = engine._given if len(engine._given) else np.zeros((len(engine._rows), 0))
            seen.append(sorted(np.hstack([engine._rows, given]).tolist()))
        assert seen[0] == seen[1]


@pytest.mark.parametrize("kind", ["hard", "hard batch", "even", "bce"])
def test_rows_are_trained_once_each_whatever_the_chunk(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    csr = random_csr(30, 50, 6)
    engine = make_engine(csr, make_model(csr), make_config(**KINDS[kind]), threads=2)
    calls: list[int] = []

    def spied(kernel: Any, *given: Any) -> Any:
        low, high = [x for x in given if type(x) is int][:2]
        calls.extend(range(low, high))
        return kernel(*given)

    for name in ("train_pairs", "train_singles", "train_batches", "train_points"):
        monkeypatch.setattr(engine_numba, name, partial(spied, getattr(engine_numba, name)))
    monkeypatch.setattr(engine_numba, "CHUNK", 37)
    engine.epoch()
    assert sorted(calls) == list(range(len(calls))) and len(calls) >= csr.nnz


@pytest.mark.parametrize("kind", ["hard", "hard batch", "softmax once"])
def test_threads_keep_the_rows_of_their_own_positives(kind: str) -> None:
    """In an order that is new each epoch; only the items at a bound are on both its sides."""
    csr = random_csr(60, 50, 12)
    engine = make_engine(csr, make_model(csr), make_config(**KINDS[kind]), threads=3)
    seen = []
    for _ in range(2):
        engine.epoch()
        bounds = engine._bounds
        assert bounds is not None and len(bounds) == 4
        seen.append([engine._rows[low:high].tolist() for low, high in pairwise(bounds)])
        parts = [{item for _, item in part} for part in seen[-1]]
        assert max(map(len, seen[-1])) - min(map(len, seen[-1])) <= 1
        assert sum(map(len, parts)) <= len(set.union(*parts)) + 2
    for first, second in zip(*seen, strict=True):
        assert first != second and sorted(first) == sorted(second)


@pytest.mark.parametrize("unit", [1, 7, 1000])
def test_even_parts_cover_everything_once_in_whole_units(unit: int) -> None:
    for low, high, parts in [(0, 0, 3), (5, 6, 4), (10, 523, 8), (3, 9999, 2)]:
        bounds = engine_numba._even(low, high, parts, unit)
        assert (bounds[0], bounds[-1], len(bounds)) == (low, high, parts + 1)
        sizes = [b - a for a, b in pairwise(bounds)]
        assert all(size >= 0 and size % unit == 0 for size in sizes[:-1])
        if unit == 1:
            assert max(sizes) - min(sizes) <= 1


def test_bce_rows_are_counted_as_the_report_counts() -> None:
    csr = random_csr(10, 40, 6)
    even = make_engine(csr, make_model(csr), make_config(loss="bce"))
    even.epoch()
    assert even._drawn == 2 * csr.nnz
    fixed = make_config(loss="bce", neg_mode="fixed", neg_sample_num=7)
    engine = make_engine(csr, make_model(csr), fixed)
    engine.epoch()
    assert engine._drawn == csr.nnz + 10 * 7
    for user, code in engine._rows[: engine._drawn]:
        assert (code >= 0) == (max(code, ~code) in csr.row(user))


def test_nothing_is_compiled_twice() -> None:
    """Every use, whatever its config, data or threads, runs the code that warm_up compiled."""
    warm_up()
    kernels = [
        online.train_pairs,
        single.train_singles,
        pointwise.train_points,
        pointwise.draw_labelled,
        batch.train_batches,
        batch.add_batch,
        batch.merge,
        batch.step_adam,
        shuffle.shuffle_rows,
        draw.fill_filters,
        quantile.top_quantiles,
    ]
    before = [len(kernel.signatures) for kernel in kernels]
    assert min(before) > 0
    for flat in KINDS.values():
        warm_up(make_config(**flat), 3)
    csr = random_csr(30, 50, 6)
    shared = CSR(csr.indptr, csr.indices, csr.n_items)
    for flat in KINDS.values():
        for threads in (1, 2):
            make_engine(
                shared, make_model(csr), make_config(**flat), threads=threads, exclude=csr
            ).epoch()
    order = np.arange(3)
    order.setflags(write=False)
    make_engine(csr, make_model(csr), make_config()).replay(order, np.full((3, 1), 49, np.int32))
    assert [len(kernel.signatures) for kernel in kernels] == before


def test_memory_is_bounded() -> None:
    csr = random_csr(2000, 1500, 40)
    config = make_config(**HARD, latent_factors=64)
    model = make_model(csr, 64)
    held = sum(view.nbytes for view in model.views()) + csr.indptr.nbytes + csr.indices.nbytes
    assert 0 < make_engine(csr, model, config).nbytes < 2 * held


def test_dispatch() -> None:
    csr = random_csr(6, 12, 3)
    keys = {"rng": np.random.default_rng(0)}
    for engine in ("auto", "numba"):
        assert isinstance(
            dispatch(make_model(csr), csr, make_config(), engine=engine, **keys), NumbaEngine
        )
    made = dispatch(make_model(csr), csr, make_config(), engine="torch", **keys)
    assert type(made).__name__ == "TorchEngine"
    with pytest.raises(ConfigError, match="numba runs on cpu, got device 'cuda'"):
        dispatch(make_model(csr), csr, make_config(), engine="numba", device="cuda", **keys)
    with pytest.raises(ConfigError, match="expected auto, numba or torch"):
        dispatch(make_model(csr), csr, make_config(), engine="jax", **keys)  # type: ignore[arg-type]


def test_the_cache_is_private_and_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    folder = jit.cache_folder.__wrapped__()
    assert folder is not None and folder.parent == tmp_path and folder.stat().st_mode & 0o77 == 0
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(jit.tempfile, "tempdir", str(temporary))
    own = temporary / f"recsearch-{os.getuid()}"
    folder.chmod(0o777)  # others could plant code to be unpickled
    assert jit.cache_folder.__wrapped__() == own / folder.name
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert jit.cache_folder.__wrapped__() == own / folder.name
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(jit.platformdirs, "user_cache_dir", lambda _: str(tmp_path / "home"))
    monkeypatch.delenv(ONLY_TEMPORARY, raising=False)
    assert jit.cache_folder.__wrapped__() == tmp_path / "home" / folder.name
    monkeypatch.setenv(ONLY_TEMPORARY, "1")  # as on the nodes of a cluster
    assert jit.cache_folder.__wrapped__() == own / folder.name
    monkeypatch.delenv(ONLY_TEMPORARY)
    monkeypatch.setattr(jit.platformdirs, "user_cache_dir", lambda _: "~nobody-there/.cache")
    assert jit.cache_folder.__wrapped__() == own / folder.name
    own.chmod(0o777)
    assert jit.cache_folder.__wrapped__() is None
    monkeypatch.setattr(jit.tempfile, "tempdir", str(tmp_path / "file"))
    assert jit.cache_folder.__wrapped__() is None


def test_a_cache_that_is_full_stops_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numba.core.caching.Cache.save_overload", full)

    def plus(a, b):  # type: ignore[no-untyped-def]
        return a + b

    assert jit.kernel()(plus)(1, 2) == 3
    assert jit.exact(types.int64(types.int64, types.int64))(plus)(1, 2) == 3


@pytest.mark.slow
def test_two_processes_and_another_copy_of_the_sources_share_one_cache(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from recsys.kernels.normal import log_tails\n"
        "found = np.zeros(2); log_tails(np.array([-3.0, 1.0]), found, 2.0); print(found)"
    )
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "recsys", copy / "recsys")
    outputs, filled = set(), []
    for place in (ROOT, copy):  # cold together, then warm together and from other files
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(place)}
        both = [
            subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        outputs |= {process.communicate(timeout=600)[0] for process in both}
        assert [process.returncode for process in both] == [0, 0]
        filled.append({(path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*.nbc")})
    assert len(outputs) == 1
    assert filled[0] == filled[1] != set()


def test_tables_start_at_a_cache_line() -> None:
    csr = random_csr(30, 50, 6)
    model = make_model(csr, 16)
    engine = make_engine(csr, model, make_config(**KINDS["hard adam"], latent_factors=16))
    arrays = [*model.views()[:2], *engine._state.means[:2], *engine._state.squares[:2]]
    assert all(array.ctypes.data % 64 == 0 for array in arrays)
    assert aligned_zeros((3, 5)).tolist() == [[0] * 5] * 3
