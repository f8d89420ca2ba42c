"""Compiled kernels (numba) of the factorization's CPU engine.

`plan` turns a config into numbers; `rng` draws random integers; `draw` samples negatives; `rows`
finds and weighs the negatives of a row; `online`, `single` (BPR, one uniform negative) and
`pointwise` (BCE) train row by row; `scalar` has exp and sums of logarithms; `batch` sums the
gradients of a batch; `optim` applies them; `shuffle` orders rows; `quantile` estimates the score
of place K of each user (SL@K). `recsys.kernels.jit` compiles and caches them.

Shapes: U users, I items, E interactions, d factors, R rows, N candidates, M hard negatives, K
random negatives, L negatives of a row (M + K if they are hard).

Arguments with the same meaning everywhere: weights, `ModelViews` or tables like them; state,
`OptimizerState`; pool, `Pool`; rows, int32 (R, 2), user and item, of which rows[low:high] are
trained; given, int32 (R, L), the negatives of each row in mode GIVEN, padded with -1; plan,
`Plan`; hyper, `Hyper`; scratch, `Scratch` of the calling thread; gradients, `Gradients`; user and
item, int64. Where losses are summed in two parts, total and product, the sum is
total + log(product); see `scalar.add_log`.

Others import: batch, draw, online, optim, plan, pointwise, quantile, rows, shuffle,
single.

May import: kernels, and of mf its `arrays` and `config`.
"""
