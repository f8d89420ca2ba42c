"""A model in a folder, with its catalogue: what is written is read back, and so is what was."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys import safe_files
from recsys.interactions import CSR, Interactions
from recsys.models import COMPOSED, MODELS, Model, config_from_flat, config_of, fit_model
from recsys.models.base import ModelConfig
from recsys.models.blend import Blend, BlendConfig
from recsys.models.catalogue import (
    has_catalogue,
    load_catalogue,
    load_counts,
    load_ids,
    save_catalogue,
)
from recsys.models.saved import (
    CONFIG,
    config_text,
    is_whole,
    load_config,
    load_model,
    save_model,
    weights_of,
)

Planted = tuple[CSR, CSR]
IDS: dict[str, tuple[list[Any], list[Any]]] = {
    "numbers": ([2**62, -1, 30], [7, 8, 9, 2**53 + 1]),
    "words": (["ann", "ünal", "12"], ["<i>", "a b", '"', "z\udcff"]),
}
SEEN = CSR.from_pairs(np.array([0, 0, 1]), np.array([0, 2, 2]), 3, 4)


def trained(name: str, train: CSR) -> tuple[ModelConfig, Model]:
    """A model of a kind, as small as it gets."""
    rng = np.random.default_rng(0)
    if name == "blend":
        flats = [{"model": "popularity"}, {"model": "ease"}]
        members = [trained(flat["model"], train)[1] for flat in flats]
        config = BlendConfig.from_flat(
            {"members": [{"weight": 0.5, "config": flat} for flat in flats], "depth": 9}
        )
        return config, Blend(config, members, train)
    flat = {"lr": 0.1} if name == "lfm" else {}
    one = config_of(name).from_flat(flat).for_epochs(1)
    return one, fit_model(one, train, rng=rng)


def interactions(users: list[Any], items: list[Any]) -> Interactions:
    def ids(values: list[Any]) -> np.ndarray:
        return np.array(values, np.int64 if isinstance(values[0], int) else object)

    return Interactions(SEEN, np.zeros(SEEN.nnz), ids(users), ids(items), ordered=False)


@pytest.mark.parametrize("name", [*MODELS, *COMPOSED])
def test_every_kind_of_model_comes_back(name: str, planted: Planted, tmp_path: Path) -> None:
    train, _ = planted
    config, model = trained(name, train)
    save_model(tmp_path / "model", model.to_bytes(), config)
    again = load_model(tmp_path / "model")
    assert type(again) is type(model)
    assert load_config(tmp_path / "model") == config
    users = np.array([5, 0, 17])
    np.testing.assert_array_equal(again.score_users(users), model.score_users(users))
    # The bytes that a digest is of are the bytes that lie there.
    assert (tmp_path / "model" / model.weights_file).read_bytes() == model.to_bytes()
    assert (tmp_path / "model" / CONFIG).read_text() == config_text(config)


@pytest.mark.parametrize("kind", IDS)
def test_the_catalogue_comes_back(kind: str, tmp_path: Path) -> None:
    users, items = IDS[kind]
    save_catalogue(tmp_path / "model", interactions(users, items), SEEN)
    found = load_catalogue(tmp_path / "model")
    assert found.user_ids.tolist() == users
    assert found.item_ids.tolist() == items
    assert found.item_ids.dtype == (np.int64 if kind == "numbers" else object)
    assert found.seen.digest() == SEEN.digest()
    alone = load_ids(tmp_path / "model")
    assert [ids.tolist() for ids in alone] == [users, items]
    of_users, of_items = load_counts(tmp_path / "model")
    assert of_users.tolist() == [2, 1, 0]
    assert of_items.tolist() == [1, 0, 2]  # item 3, the last, has nobody


def test_a_folder_of_before_is_read_and_would_be_written_the_same(tmp_path: Path) -> None:
    """The layout of all runs and MLflow models so far, spelled out: names, keys, bytes."""
    old = tmp_path / "old"
    old.mkdir()
    weights = {
        "user_factors": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
        "item_factors": torch.tensor([[4.0, 1.0], [3.0, 2.0], [2.0, 3.0], [1.0, 4.0]]),
        "user_bias": torch.zeros(3),
        "item_bias": torch.zeros(4),
        "global_bias": torch.zeros(1),
    }
    torch.save(weights, old / "weights.pt")
    # The config of a factorization does not name its model.
    config = config_from_flat({"lr": 0.1})
    (old / "config.json").write_text(json.dumps(config.to_flat(), indent=2) + "\n")
    assert "model" not in json.loads((old / "config.json").read_text())
    (old / "ids.json").write_bytes(
        '{"users": ["ann", "ünal", "12"], "items": ["<i>", "a b", "\\"", "z\\udcff"]}\n'.encode()
    )
    arrays = io.BytesIO()
    np.savez_compressed(arrays, indptr=np.array([0, 2, 3, 3]), indices=np.int32([0, 2, 2]))
    (old / "seen.npz").write_bytes(arrays.getvalue())

    assert is_whole(old)
    assert load_config(old) == config
    scores = load_model(old).score_users(np.array([0, 1]))
    assert scores.tolist() == [[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]]
    found = load_catalogue(old)
    assert (found.user_ids.tolist(), found.item_ids.tolist()) == IDS["words"]
    assert found.seen.digest() == SEEN.digest()

    new = tmp_path / "new"
    save_model(new, (old / "weights.pt").read_bytes(), config)
    save_catalogue(new, interactions(*IDS["words"]), SEEN)
    files = {path.name: path.read_bytes() for path in old.iterdir()}
    assert {path.name: path.read_bytes() for path in new.iterdir()} == files


def test_the_weights_of_another_model_go(planted: Planted, tmp_path: Path) -> None:
    train, _ = planted
    for name in ("lfm", "popularity", "lfm"):
        config, model = trained(name, train)
        save_model(tmp_path, model.to_bytes(), config)
        assert weights_of(tmp_path) == tmp_path / model.weights_file
        assert load_config(tmp_path) == config


def test_a_model_is_whole_with_all_of_its_files(planted: Planted, tmp_path: Path) -> None:
    config, model = trained("popularity", planted[0])
    save_catalogue(tmp_path, interactions(*IDS["numbers"]), SEEN)
    assert has_catalogue(tmp_path)
    assert not is_whole(tmp_path)
    save_model(tmp_path, model.to_bytes(), config)
    for file in list(tmp_path.iterdir()):
        assert is_whole(tmp_path)
        content = file.read_bytes()
        file.unlink()
        assert not is_whole(tmp_path)
        file.write_bytes(content)


def test_what_cannot_be_written_leaves_what_was_there(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, model = trained("popularity", planted[0])
    save_model(tmp_path, model.to_bytes(), config)
    save_catalogue(tmp_path, interactions(*IDS["numbers"]), SEEN)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safe_files, "_sync", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(tmp_path, b"other", config)
    with pytest.raises(OSError, match="No space left"):
        save_catalogue(tmp_path, interactions(*IDS["words"]), SEEN)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
