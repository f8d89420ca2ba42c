"""The command line: a command goes in, printed lines and an exit code come out.

`main` is the door; `arguments` parses. `commands` has the commands other than the search; some have
files of their own: `export`, `runs`, `clean`, `fetch`, and `overview` for what `data` shows.
`tables` prints lists. `targets`: where a command may write.

Others import: main.

May import: every room.
"""
