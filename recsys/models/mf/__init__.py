"""The latent factor model: its config, losses, samplers of negatives, and two engines.

`config` is all that a search space needs, and imports neither torch nor numba; `model` holds the
weights; `entry` is the entry point for a search, `fit` the one for a script; `training` is the
generator of epochs. `engine` chooses between `numba_engine` (the fast one for CPUs, with
`kernels/`, `sampling` and `arrays`) and `torch_engine` (for any device, and the slow twin in tests,
with `losses`, `torch_sampling` and `torch_optim`). `folding` computes factors of people whom the
model was not trained on; `warm_up` compiles the kernels.

Others import: config, engine, fit, model, training.

May import: the files of models that all of them share, evaluation, scoring, interactions, kernels,
errors.
"""
