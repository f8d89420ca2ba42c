"""Compiled code (numba) that no model owns: `jit` compiles and caches, `topk` ranks items."""
