"""The command line: a command in, an exit code and everything that is printed out.

`main` is the door; `arguments` parses. `commands` has the commands other than the search, a few in
files of their own: `export`, `runs`, `clean`, `fetch`, `overview` for what `data` shows, and
`tables`, by which they list. `targets`: where a command may write.

Others import: main.

May import: every room.
"""
