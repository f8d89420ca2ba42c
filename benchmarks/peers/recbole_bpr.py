"""RecBole's BPR. Options: data, factors.

One `_train_epoch` of its trainer over its own loader and sampler, in batches of its default
size, without validation.

RecBole 1.2.1 predates numpy 2 and imports ray for a tuner that is not used here: the names it
misses are given to it. Neither changes what is timed.
"""

from __future__ import annotations

import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch
from serve import Server, options, pairs, serve


def stand_ins() -> None:
    """The names that RecBole needs in order to be imported."""
    ray = types.ModuleType("ray")
    ray.tune = types.ModuleType("ray.tune")  # type: ignore[attr-defined]
    sys.modules.update({"ray": ray, "ray.tune": ray.tune})
    for name, meaning in {
        "float_": np.float64,
        "complex_": np.complex128,
        "unicode_": np.str_,
    }.items():
        setattr(np, name, meaning)


def main() -> None:
    server, asked = Server(), options()
    stand_ins()
    from recbole import __version__
    from recbole.config import Config
    from recbole.data import create_dataset
    from recbole.data.dataloader import TrainDataLoader
    from recbole.sampler import Sampler
    from recbole.utils import get_model, get_trainer, init_seed

    users, items, _, _ = pairs(asked["data"])
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "bench" / "bench.inter"
        rows.parent.mkdir()
        lines = (f"{user}\t{item}" for user, item in zip(users, items, strict=True))
        rows.write_text("user_id:token\titem_id:token\n" + "\n".join(lines) + "\n")
        config = Config(
            model="BPR",
            dataset="bench",
            config_dict={
                "data_path": folder,
                "checkpoint_dir": folder,
                "load_col": {"inter": ["user_id", "item_id"]},
                "embedding_size": asked["factors"],
                "use_gpu": False,
                "show_progress": False,
            },
        )
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        dataset._change_feat_format()
        sampler = Sampler(["train"], [dataset]).set_phase("train")
        loader = TrainDataLoader(config, dataset, sampler, shuffle=True)
        model = get_model("BPR")(config, dataset).to(config["device"])
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        torch.set_num_threads(1)
        assert len(dataset) == len(users)
        epochs = 0

        def epoch() -> int:
            nonlocal epochs
            trainer._train_epoch(loader, epochs)
            epochs += 1
            return len(users)

        serve(server, epoch, version=__version__)


if __name__ == "__main__":
    main()
