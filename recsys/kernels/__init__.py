"""Compiled code (numba) that belongs to no model; arrays in, arrays out.

`jit` compiles and caches, also for the kernels of the models. `topk` ranks items by all scores,
`bounds` by few scores, where bounds rule most items out; `lookup` finds an item in a sorted row;
`normal` computes logarithms of the tail of a normal distribution, for the sampler of the search.

Others import: bounds, jit, lookup, normal, topk.

May import: numba and numpy; of recsys safe_files only.
"""
