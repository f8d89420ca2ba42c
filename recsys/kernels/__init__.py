"""Compiled code (numba) that no model owns; arrays in, arrays out.

`jit` compiles and caches, for the kernels of the models too. `topk` ranks items by all scores,
`bounds` where most are ruled out by a bound; `lookup` finds an item in a sorted row; `normal` takes
logarithms of a normal distribution's tail, for the sampler of the search.

Others import: bounds, jit, lookup, normal, topk.

May import: numba and numpy, nothing of recsys.
"""
