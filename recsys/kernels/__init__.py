"""Compiled kernels (numba) of the CPU engine.

`jit` compiles and caches; `plan` turns a config into numbers; `rng` draws random integers; `draw`
samples negatives; `rows` finds and weighs the negatives of a row; `online`, `single`
(BPR, one uniform negative) and `pointwise` (BCE) train row by row; `scalar` has exp and sums of
logarithms; `batch` sums the gradients of a batch; `optim` applies them; `shuffle` orders rows;
`topk` selects the best items.

Shape letters: U users, I items, d factors, R rows, N candidates, M hard and K random negatives,
L = M + K negatives of a row, T threads.
"""
