"""What a terminal shows while a search runs: events in, lines out.

`display` is the door and takes the events; `progress` is the state so far, which `draw` turns into
lines.

Others import: display.

May import: machine (`beat` alone), record, the leaves, and recsys.
"""
