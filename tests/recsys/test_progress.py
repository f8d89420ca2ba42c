"""A training that was cut off ends, from its checkpoint, as if it had never been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from recsys.interactions import CSR
from recsys.models.base import EpochReport, Model
from recsys.models.ials import IALS, IalsConfig
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.entry import Factorization
from recsys.models.mf.training import train
from recsys.models.progress import Checkpoint
from tests.kernels.helpers import make_config
from tests.kernels.test_engine import KINDS, planted

EPOCHS, CUT = 7, 3


@dataclass
class Kept:
    """Keeps the bytes of a checkpoint after each epoch."""

    resume: Checkpoint | None = None
    made: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def offer(self, size: int, make: Callable[[], Checkpoint]) -> None:
        self.sizes.append(size)
        self.made.append(make().to_bytes())


Run = Callable[[CSR, CSR, Kept], tuple[Model, Iterator[EpochReport]]]


def factorization(kind: str, engine: Any) -> Run:
    def run(positives: CSR, held_out: CSR, kept: Kept) -> tuple[Model, Iterator[EpochReport]]:
        batch = {} if engine == "numba" else {"batch_size": 64}  # rows one by one take it seconds
        config = make_config(**KINDS[kind] | {"epochs": EPOCHS, "patience": 4} | batch)
        assert isinstance(config, TrainConfig)
        rng = np.random.default_rng(5)
        model = Factorization.create(config, positives.n_users, positives.n_items, rng=rng)
        return model, train(
            model,
            positives,
            held_out,
            config,
            rng=rng,
            metric="map@10",
            engine=engine,
            checkpoints=kept,
        )

    return run


def ials(positives: CSR, held_out: CSR, kept: Kept) -> tuple[Model, Iterator[EpochReport]]:
    config = IalsConfig(ials_factors=5, epochs=EPOCHS, patience=4)
    rng = np.random.default_rng(5)
    model = IALS.create(config, positives.n_users, positives.n_items, rng=rng)
    return model, model.train(config, positives, held_out, metric="map@10", checkpoints=kept)


RUNS: dict[str, Run] = {"ials": ials} | {
    f"{kind}, {engine}": factorization(kind, engine)
    for engine in ("numba", "torch")
    for kind in KINDS
}


def timeless(reports: list[EpochReport]) -> list[EpochReport]:
    return [replace(report, train_seconds=0.0, eval_seconds=0.0) for report in reports]


@pytest.mark.parametrize("name", RUNS)
def test_it_ends_as_if_it_had_never_stopped(name: str) -> None:
    positives, held_out = planted(users=8)
    whole = Kept()
    model, epochs = RUNS[name](positives, held_out, whole)
    expected = list(epochs)
    assert len(whole.made) == len(expected) - 1  # after the last one there is nothing to continue

    found = Checkpoint.from_bytes(whole.made[CUT - 1])
    assert len(found.reports) == CUT
    assert sum(array.nbytes for array in (*found.state, *found.best)) <= whole.sizes[CUT - 1] + 1e4
    again = Kept(found)
    resumed, epochs = RUNS[name](positives, held_out, again)
    reports = list(epochs)
    assert reports[:CUT] == expected[:CUT]  # to the second: they are the ones that were
    assert timeless(reports) == timeless(expected)
    theirs = resumed.arrays()
    for part, values in model.arrays().items():
        assert values.tobytes() == theirs[part].tobytes(), part
    # and a checkpoint that is made later is the one that would have been
    last = [Checkpoint.from_bytes(kept.made[-1]) for kept in (whole, again)]
    for one, other in zip(last[0].state, last[1].state, strict=True):
        assert one.tobytes() == other.tobytes()


def test_one_that_is_cut_off_again_and_again() -> None:
    positives, held_out = planted(users=8)
    model, epochs = RUNS["hard, numba"](positives, held_out, Kept())
    expected, found = list(epochs), None
    for _ in expected[:-1]:
        kept = Kept(found)
        _, epochs = RUNS["hard, numba"](positives, held_out, kept)
        for _ in range(1 if found is None else len(found.reports) + 1):
            next(epochs)
        epochs.close()  # type: ignore[attr-defined]
        found = Checkpoint.from_bytes(kept.made[-1])
    resumed, epochs = RUNS["hard, numba"](positives, held_out, Kept(found))
    assert timeless(list(epochs)) == timeless(expected)
    assert resumed.to_bytes() == model.to_bytes()


def test_without_validation_there_are_no_best_weights() -> None:
    positives, _ = planted(users=8)
    config = IalsConfig(ials_factors=5, epochs=EPOCHS)
    finals = []
    found = None
    for _ in range(2):
        kept = Kept(found)
        model = IALS.create(config, 40, 80, rng=np.random.default_rng(5))
        assert [r.epoch for r in model.train(config, positives, None, checkpoints=kept)] == list(
            range(1, EPOCHS + 1)
        )
        finals.append(model.to_bytes())
        found = Checkpoint.from_bytes(kept.made[0])
        assert found.best == ()
    assert finals[0] == finals[1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no file of numpy's"])
def test_what_is_no_checkpoint_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        Checkpoint.from_bytes(content)
