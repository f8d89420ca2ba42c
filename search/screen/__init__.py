"""What a terminal shows while a search runs: events in, lines out.

`display` is the door and takes the events; `progress` is what is known so far, `draw` makes lines
of it.

Others import: display.

May import: record, the leaves, and recsys.
"""
