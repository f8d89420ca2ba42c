"""Compiled kernels (numba) of the CPU engine.

`jit` compiles and caches, `rng` draws random integers, `draw` samples negatives, `rows` holds the
per-row arithmetic, `online` and `pointwise` train row by row, `batch` accumulates the gradient of
a batch, `optim` applies it.

Shape letters: U users, I items, d factors, R rows, N candidates, M hard and K random negatives,
L = M + K negatives of a row, T threads.
"""
