"""What a run is and what has happened in it: its folder, its journal, and what follows from them.

The journal is the source of truth: events go in, a `RunState` comes out. `events` are what it can
hold, `journal` writes and reads it, `state` is what it says, `standing` which trial is ahead,
`settings` what was decided once and for all, `planned` what is still to do. `folder` has the
folder's name, lock and atomic files; in it lie the CSV files (`tables`), the summary of a run
(`result`, with comparisons from `compared`), the test value of every user (`measured`) and the
origin of the numbers (`provenance`). `handed` says whether the model and the submission are still
the ones that the refit made.

Others import: compared, events, folder, handed, journal, measured, planned, provenance, result,
settings, standing, state, tables.

May import: space, the leaves, and recsys.
"""
