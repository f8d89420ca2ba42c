"""The latent factor model: its config, losses, samplers of negatives, and two engines.

`config` is all that a search space needs and imports neither torch nor numba; `model` holds the
weights; `training` is the generator of epochs; `engine` chooses between `numba_engine` (the
CPU's fast path, with `kernels/`) and `torch_engine` (any device, and the slow twin in tests).
"""
