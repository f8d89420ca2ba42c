"""LensKit's FlexMF with its "bpr" preset. Options: data, factors, compile (of the model, by torch).

One `train_epoch` of its trainer, in batches of its default size, without finishing or scoring.
"""

from __future__ import annotations

import os

from serve import Server, options, pairs, serve


def main() -> None:
    server, asked = Server(), options()
    os.environ["LK_TORCH_COMPILE"] = "1" if asked["compile"] else "0"

    import pandas as pd
    import torch
    from lenskit import __version__
    from lenskit.data import from_interactions_df
    from lenskit.flexmf import FlexMFImplicitScorer
    from lenskit.parallel import initialize
    from lenskit.training import TrainingOptions

    initialize(processes=1, threads=1, backend_threads=1)
    users, items, _, _ = pairs(asked["data"])
    data = from_interactions_df(pd.DataFrame({"user_id": users, "item_id": items}))
    scorer = FlexMFImplicitScorer(preset="bpr", embedding_size=asked["factors"])
    trainer = scorer.create_trainer(data, TrainingOptions(device="cpu", rng=1))
    torch.set_num_threads(1)
    assert trainer.data.n_samples == len(users)

    def epoch() -> int:
        trainer.train_epoch()
        return len(users)

    serve(server, epoch, version=__version__)


if __name__ == "__main__":
    main()
