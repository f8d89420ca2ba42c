"""What a run is and what has happened in it: its folder, its journal, and what follows from them.

The journal is the truth. `events` are what it can hold, `journal` writes and reads it, `state` is
what it says; `settings` what was decided once and for all, `planned` what is still to do; `folder`
has the folder's name, lock and atomic files, `tables` the CSV files, `result` the summary of a run,
`provenance` where the numbers come from.

May import: space, and the leaves (names, paste, paths, stats, words).
"""
