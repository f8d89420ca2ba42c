"""Reading data: a name or a path in, a `Dataset` out, or an InputError that says what to mend.

`source` has the door, `load`; `named` fetches and keeps the named sets (`SETS`), `demo` generates
one; `facts` describes a data set in numbers. `read` makes a `Dataset` of a path: `files` finds what
is to be read, `foreign` knows files that are no table, `stream` decompresses bytes and guards
against them, `formats/` tells formats apart, `shared_header` lends a header to files cut off below
it. `layout` says how a text is laid out, `blocks` cuts it into whole rows, `table` parses them;
`typed` takes columns of parquet and JSON. `rows` collects what was read, and `build` makes pairs of
it. `users_file` and `ids_file` read files of users and of ids.

What cells mean: `names` (which column is which), `ids`, `doubts` (ids that are hardly meant),
`ratings`, `times` with `dates`, `digits` (numbers that spell a date) and `instants`, `lists` and
`list_cells`, `several` (ids that are rather several), `cells` (numbers, and the error for a cell
that is none).

Others import: facts, ids, ids_file, lists, ratings, read, stream.

May import: receivers, interactions, output, safe_files, errors.
"""

from recsys.data.demo import planted
from recsys.data.facts import describe, describe_lines
from recsys.data.named import SETS, NamedSet
from recsys.data.read import Dataset
from recsys.data.source import load

__all__ = ["SETS", "Dataset", "NamedSet", "describe", "describe_lines", "load", "planted"]
