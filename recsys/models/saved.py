"""A trained model in a folder: its weights, and `config.json`, which says whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recsys.models import DEFAULT, config_from_flat, model_named
from recsys.models.base import Model, ModelConfig

CONFIG = "config.json"
_WEIGHTS = "weights.*"


def weights_of(folder: Path) -> Path | None:
    """The file with the weights of the model in a folder, None where there is none.

    Imports no model, so that a program that only passes the file on need not load torch.
    """
    found = sorted(folder.glob(_WEIGHTS))
    return found[0] if len(found) == 1 else None


def load_model(folder: Path) -> Model:
    """The model that was saved in a folder; no code in its files can run."""
    flat = _flat(folder)
    kind = model_named(flat.get("model", DEFAULT))
    return kind.from_bytes((folder / kind.weights_file).read_bytes())


def load_config(folder: Path) -> ModelConfig:
    """What the model in a folder was trained with."""
    return config_from_flat(_flat(folder))


def _flat(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return found
