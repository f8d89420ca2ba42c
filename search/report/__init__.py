"""A run folder in, report.html out: one file that works offline.

`page` is the report of a run, `compare` a page about several, and `render` turns either into one
file. `files` reads a run folder; `tables`, `charts`, `maps` (many parameters at once) and
`timeline` draw what is in it, with `svg`; `bounds` finds the ends of ranges that the best trials
press against. `templates/` has the pages.

Others import: compare, files, page, tables.

May import: record, space, the summary, the leaves, and recsys.
"""
