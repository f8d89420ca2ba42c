"""implicit's BayesianPersonalizedRanking on the CPU. Options: data, factors.

Negatives are verified, as by default: a draw that turns out to be a positive is skipped, so
fewer triples are trained (`trained`) than rows are visited (`rows`). Only its own clock counts,
the time inside its compiled epoch, which leaves out what `fit` does around it.
"""

from __future__ import annotations

import time

import numpy as np
from implicit import __version__
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix
from serve import Server, options, pairs


def main() -> None:
    server, asked = Server(), options()
    users, items, n_users, n_items = pairs(asked["data"])
    matrix = csr_matrix((np.ones(len(users), np.float32), (users, items)), (n_users, n_items))
    model = BayesianPersonalizedRanking(
        factors=asked["factors"],
        learning_rate=0.05,
        regularization=0.002,
        num_threads=1,
        random_state=1,
        verify_negative_samples=True,
    )
    server.answer(version=__version__)
    while epochs := server.wait():
        model.iterations = epochs
        seconds, skipped = [], []

        def note(
            _epoch: int,
            elapsed: float,
            _correct: int,
            missed: int,
            seconds: list[float] = seconds,
            skipped: list[int] = skipped,
        ) -> None:
            seconds.append(elapsed)
            skipped.append(missed)

        cpu = time.process_time()
        model.fit(matrix, show_progress=False, callback=note)
        cpu = time.process_time() - cpu
        assert len(seconds) == epochs
        rows = epochs * matrix.nnz
        server.answer(seconds=sum(seconds), cpu=cpu, rows=rows, trained=rows - sum(skipped))


if __name__ == "__main__":
    main()
