"""What a terminal shows while a search runs: `display` takes events, `draw` makes lines of them.

May import: record, and the leaf words.
"""
