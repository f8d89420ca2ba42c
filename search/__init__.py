"""The search: what is tried, on which machines, who wins, and how it is told.

Its rooms and their layers are in docs/architecture.md; `recsys` below it knows none of them.
"""
