"""Compiled kernels (numba) of the factorization's CPU engine.

`plan` turns a config into numbers; `rng` draws random integers; `draw` samples negatives; `rows`
finds and weighs the negatives of a row; `online`, `single` (BPR, one uniform negative) and
`pointwise` (BCE) train row by row; `scalar` has exp and sums of logarithms; `batch` sums the
gradients of a batch; `optim` applies them; `shuffle` orders rows. How they are compiled and
cached: `recsys.kernels.jit`.

Shape letters: U users, I items, d factors, R rows, N candidates, M hard and K random negatives,
L = M + K negatives of a row, T threads.

Others import: batch, draw, online, optim, plan, pointwise, rows, shuffle, single.

May import: kernels, and of mf its `arrays` and `config`.
"""
