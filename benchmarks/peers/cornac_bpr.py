"""Cornac's BPR. Options: data, factors.

A negative that turns out to be a positive is skipped: see `trained` and `rows`. Timed is its
compiled epoch alone, which leaves out what `fit` does around it.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from cornac import __version__
from cornac.data import Dataset
from cornac.models import BPR
from serve import Server, options, pairs


class TimedBPR(BPR):
    """BPR whose compiled epochs are timed."""

    seconds = cpu = 0.0
    skipped = 0

    def _fit_sgd(self, *arguments: Any) -> tuple[int, int]:
        cpu, wall = time.process_time(), time.perf_counter()
        correct, skipped = super()._fit_sgd(*arguments)
        self.seconds += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        self.skipped += skipped
        return correct, skipped


def main() -> None:
    server, asked = Server(), options()
    users, items, _, _ = pairs(asked["data"])
    rated = zip(users.tolist(), items.tolist(), np.ones(len(users)).tolist(), strict=True)
    train = Dataset.from_uir(list(rated))
    server.answer(version=__version__)
    weights: dict[str, Any] = {}
    while epochs := server.wait():
        model = TimedBPR(
            k=asked["factors"],
            max_iter=epochs,
            learning_rate=0.05,
            lambda_reg=0.002,
            num_threads=1,
            seed=1,
            init_params=weights,
        )
        model.fit(train)
        weights = {"U": model.u_factors, "V": model.i_factors, "Bi": model.i_biases}
        rows = epochs * len(users)
        server.answer(seconds=model.seconds, cpu=model.cpu, rows=rows, trained=rows - model.skipped)


if __name__ == "__main__":
    main()
