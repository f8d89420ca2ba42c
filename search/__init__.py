"""The search: what is tried, on which machines, who wins, and how it is told.

Its rooms and their layers are in docs/architecture.md; `recsys` below it knows none of them. What
several rooms need lies beside them: `summary` puts a result into words (it imports record, and is
above it). Leaves: `stats` (tests and intervals), `guard` (what we start ends with us), `words`
(numbers as a person reads them), `paste` (every command that is printed), `durations`, `names` (of
runs and spaces), `paths` (where the project's folders are). They import nothing but leaves.
"""
