"""The command line: `arguments` parses, `main` calls and gives exit codes, `commands` has the
commands other than the search.

May import: every room.
"""
