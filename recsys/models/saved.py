"""A trained model in a folder: its weights, and `config.json`, which says which model they belong
to.

Only this module writes and reads these two files. `catalogue` handles the files beside them that
hold the ids of the user's file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recsys.models import DEFAULT, config_from_flat, model_named, model_of
from recsys.models.base import Model, ModelConfig
from recsys.models.catalogue import has_catalogue
from recsys.safe_files import replace_content

CONFIG = "config.json"
_WEIGHTS = "weights.*"


def weights_of(folder: Path) -> Path | None:
    """The file with the weights of the model in a folder; None unless there is exactly one.

    Imports no model, so that a program that only passes the file on need not load torch.
    """
    found = sorted(folder.glob(_WEIGHTS))
    return found[0] if len(found) == 1 else None


def is_whole(folder: Path) -> bool:
    """Whether a folder has all files of one model: weights, config, ids and seen items.

    Like `weights_of`, it imports no model.
    """
    return weights_of(folder) is not None and (folder / CONFIG).is_file() and has_catalogue(folder)


def save_model(folder: Path, weights: bytes, config: ModelConfig) -> None:
    """Write `weights` (from `Model.to_bytes`) and the config, each file whole or not at all.

    folder: created if its parent exists. Weights in it under another name, such as those of an
    earlier winner, are removed first. Raises OSError.
    """
    folder.mkdir(exist_ok=True)
    file = folder / model_of(config).weights_file
    before = weights_of(folder)
    if before not in (None, file):
        before.unlink()
    replace_content(file, weights)
    replace_content(folder / CONFIG, config_text(config).encode(errors="backslashreplace"))


def config_text(config: ModelConfig) -> str:
    """The content of `config.json`: the flat config."""
    return json.dumps(config.to_flat(), indent=2) + "\n"


def load_model(folder: Path) -> Model:
    """The model that was saved in a folder; no code in its files can run.

    Raises OSError for a missing file, ConfigError for a model that is unknown, and whatever json,
    numpy or torch raise for a damaged file.
    """
    flat = _flat(folder)
    kind = model_named(flat.get("model", DEFAULT))
    return kind.from_bytes((folder / kind.weights_file).read_bytes())


def load_config(folder: Path) -> ModelConfig:
    """The config that the model in a folder was trained with.

    Raises OSError for a missing file, ConfigError for a config that is not one of ours, and
    ValueError for a file that is not JSON.
    """
    return config_from_flat(_flat(folder))


def _flat(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return found
