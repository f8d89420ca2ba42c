"""Compiled code of the models that are one file each: `ials` for that model, `neighbours` for those
that keep the nearest items of each item, `blend` for the sum of several models' lists, `lists` for
what belongs to the items that somebody likes.

Others import: blend, ials, lists, neighbours.

May import: kernels.
"""
