"""One function hands over: what it writes is what `disagreement` compares it with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from recsys.data import Dataset
from recsys.interactions import CSR, Interactions
from recsys.models import Model
from recsys.models.catalogue import load_catalogue
from recsys.models.popularity import Popularity, PopularityConfig
from recsys.models.saved import load_config, load_model
from search.record.events import StageMarked, StageState
from search.record.handed import MODEL, SUBMISSION, disagreement
from search.record.journal import StorageError
from search.record.result import Decided, Handed, Refitted
from search.record.state import RunState
from search.stages import handover
from search.stages.handover import hand_over

SEEN = CSR.from_pairs(np.array([0, 0, 1, 2]), np.array([0, 2, 2, 1]), 3, 4)
DATASET = Dataset(
    Interactions(
        SEEN, np.zeros(SEEN.nnz), np.array([7, 8, 9]), np.array([10, 20, 30, 40]), ordered=False
    ),
    None,
    None,
    None,
)
CONFIG = PopularityConfig()


def hand(run_dir: Path, model: Model) -> tuple[int, Handed]:
    return hand_over(
        run_dir,
        model,
        CONFIG,
        model.to_bytes(),
        DATASET,
        SEEN,
        trial="t0003",
        k=2,
        separator=" ",
    )


def test_what_is_handed_over_agrees_with_its_digests(tmp_path: Path) -> None:
    rows, handed = hand(tmp_path, Popularity(SEEN))
    assert rows == 3
    assert (tmp_path / SUBMISSION).read_text().splitlines()[1:] == ["7,20 40", "8,10 20", "9,30 10"]
    assert isinstance(load_model(tmp_path / MODEL), Popularity)
    assert load_config(tmp_path / MODEL) == CONFIG
    assert load_catalogue(tmp_path / MODEL).seen.digest() == SEEN.digest()
    state = RunState()
    for name, data in (
        ("race", Decided(winner="t0003", epochs=1)),
        ("refit", Refitted(handed=handed)),
    ):
        state.apply(StageMarked(name=name, state=StageState.DONE, data=data.plain()), 0)
    assert disagreement(tmp_path, state) is None
    (tmp_path / SUBMISSION).write_text("another's\n")
    assert SUBMISSION in (disagreement(tmp_path, state) or "")


def test_a_submission_of_before_never_stands_beside_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand(tmp_path, Popularity(SEEN))

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(handover, "save_catalogue", full)
    with pytest.raises(StorageError, match=r"model: cannot be written \(No space left on device\)"):
        hand(tmp_path, Popularity(SEEN))
    assert not (tmp_path / SUBMISSION).exists()
