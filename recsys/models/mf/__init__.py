"""The latent factor model: its config, losses, samplers of negatives, and two engines.

`config` is all that a search space needs and imports neither torch nor numba; `model` holds the
weights; `entry` is the door for a search, `fit` that for a script; `training` is the generator of
epochs. `engine` chooses between `numba_engine` (the CPU's fast path, with `kernels/`, `sampling`
and `arrays`) and `torch_engine` (any device, and the slow twin in tests, with `losses`,
`torch_sampling` and `torch_optim`). `folding` makes factors of people it was not trained on;
`warm_up` compiles.

Others import: config, engine, fit, model, training.

May import: the files of models that all of them share, evaluation, scoring, interactions, kernels,
errors.
"""
