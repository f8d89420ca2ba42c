"""Compiled code of the models that are one file each, by whose names it goes: `ials`, `neighbours`.

Others import: ials, neighbours.

May import: kernels.
"""
