"""Compiled code of the models that are one file each: `ials` for that model, `neighbours` for those
that keep the nearest items of each item.

Others import: ials, neighbours.

May import: kernels.
"""
