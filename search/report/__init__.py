"""report.html: one file that works offline.

`page` is the door; `files` reads a run folder, `tables` and `charts` (with `svg`) draw what is in
it, `templates/` holds the page.

May import: record, space, the summary, and the leaves (paste, stats, words).
"""
