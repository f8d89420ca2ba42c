"""Reading data: a name or a path in, a `Dataset` out, or an InputError that says what to fix.

`source` has the door, `load`; `named` fetches and keeps the named sets (`SETS`), `demo` generates
one; `facts` describes a data set in numbers. `read` makes a `Dataset` from a path: `files` finds
the files to read, `foreign` knows files that are not tables, `stream` decompresses bytes and guards
against harmful ones, `formats/` tells formats apart, `shared_header` lends a header to files that
were cut off below it. `layout` describes how a text is laid out, `blocks` cuts it into whole rows,
`table` parses them; `typed` takes columns of parquet and JSON. `rows` collects what was read, and
`build` makes pairs of it. `users_file` and `ids_file` read files of users and of ids.

The meaning of cells: `names` (which column is which), `ids`, `doubts` (ids that are probably not
meant), `ratings`, `times` with `dates`, `digits` (numbers that spell a date) and `instants`,
`lists` and `list_cells`, `several` (ids that are rather several items), `cells` (numbers, and the
error for a cell that cannot be used).

Others import: facts, ids, ids_file, lists, ratings, read, stream.

May import: receivers, interactions, output, safe_files, errors.
"""

from recsys.data.demo import planted
from recsys.data.facts import describe, describe_lines
from recsys.data.named import SETS, NamedSet
from recsys.data.read import Dataset
from recsys.data.source import load

__all__ = ["SETS", "Dataset", "NamedSet", "describe", "describe_lines", "load", "planted"]
